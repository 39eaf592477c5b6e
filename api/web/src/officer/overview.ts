/** All layers with their freshness, and the newest runs. */

import { h } from "../dom";
import type { Desk } from "./desk";
import { badge, duration, type Run, table } from "./parts";

interface Fresh {
  layer: string;
  time_zone: string;
  withdrawn: boolean;
  revision: number;
  changed_at: string | null;
  last_run: number | null;
  last_state: string | null;
  last_run_at: string | null;
  checked_at: string | null;
  late_after_h: number | null;
  late: boolean;
}

const STATES = ["published", "unchanged", "refused", "running"];
const PAGE = 25;

export async function showOverview(desk: Desk): Promise<void> {
  const { layers } = (await desk.get("/runs/freshness")) as { layers: Fresh[] };
  const zones = new Map(layers.map((each) => [each.layer, each.time_zone]));
  const runs = new RunList(desk, zones);
  await runs.load();
  desk.show(
    h("h2", {}, desk.word("freshness")),
    h("p", { class: "small" }, desk.word("freshness_hint")),
    layers.length ? freshness(desk, layers) : h("p", { class: "small" }, desk.word("no_layers")),
    h("h2", {}, desk.word("runs")),
    runs.filters(layers.map((each) => each.layer)),
    runs.box,
  );
}

function freshness(desk: Desk, layers: Fresh[]): HTMLElement {
  const sorted = [...layers].sort((a, b) => Number(b.late) - Number(a.late));
  const rows = sorted.map((each) => [
    h("a", { href: `#layer=${encodeURIComponent(each.layer)}` }, desk.title(each.layer)),
    due(desk, each),
    each.last_run
      ? h("span", {}, badge(desk, each.last_state ?? ""), " ", h("a", { href: `#run=${each.last_run}` }, desk.word("run_number", { run: String(each.last_run) })))
      : desk.word("no_run"),
    desk.when(each.checked_at, each.time_zone),
    desk.when(each.changed_at, each.time_zone),
    desk.number(each.revision),
  ]);
  const columns = ["layer", "due", "last_run", "last_checked", "last_change", "#revision"];
  return table(desk.word("freshness"), named(desk, columns), rows);
}

function due(desk: Desk, each: Fresh): Node | string {
  if (each.withdrawn) return desk.word("withdrawn");
  if (each.late_after_h === null) return h("span", { class: "second" }, desk.word("no_limit"));
  const limit = desk.word("within", { hours: desk.number(each.late_after_h) });
  return h("span", {}, badge(desk, each.late ? "late" : "ok"), " ", h("span", { class: "second" }, limit));
}

function named(desk: Desk, columns: string[]): string[] {
  return columns.map((column) =>
    column.startsWith("#") ? `#${desk.word(column.slice(1))}` : desk.word(column),
  );
}

class RunList {
  readonly box = h("div", { "aria-live": "polite" });
  private readonly layer = h("select", { onchange: () => void this.load() });
  private readonly state = h("select", { onchange: () => void this.load() });
  private runs: Run[] = [];

  constructor(
    private readonly desk: Desk,
    private readonly zones: Map<string, string>,
  ) {}

  filters(layers: string[]): HTMLElement {
    const option = (value: string, text: string): HTMLElement => h("option", { value }, text);
    this.layer.append(option("", this.desk.word("all_layers")), ...layers.map((id) => option(id, this.desk.title(id))));
    this.state.append(option("", this.desk.word("all_states")), ...STATES.map((id) => option(id, this.desk.word(`state_${id}`))));
    return h("div", { class: "filters" },
      h("label", {}, this.desk.word("layer"), this.layer),
      h("label", {}, this.desk.word("state"), this.state),
    );
  }

  async load(more = false): Promise<void> {
    const asked = new URLSearchParams({ limit: String(PAGE) });
    if (this.layer.value) asked.set("layer", this.layer.value);
    if (this.state.value) asked.set("state", this.state.value);
    const last = this.runs.at(-1);
    if (more && last) asked.set("before", String(last.run));
    try {
      const { runs } = (await this.desk.get(`/runs?${asked}`)) as { runs: Run[] };
      this.runs = more ? [...this.runs, ...runs] : runs;
      this.draw(runs.length === PAGE);
    } catch (error) {
      this.desk.fail(error);
    }
  }

  private draw(more: boolean): void {
    if (!this.runs.length) {
      this.box.replaceChildren(h("p", { class: "small" }, this.desk.word("no_runs")));
      return;
    }
    const columns = [
      "run", "layer", "state", "started", "#took", "#read", "#inserted", "#updated", "#unchanged",
      "#quarantined", "#duplicates", "#deleted",
    ];
    const rows = this.runs.map((run) => this.row(run));
    const again = h("button", { type: "button", onclick: () => void this.load(true) }, this.desk.word("more"));
    this.box.replaceChildren(
      table(this.desk.word("runs"), named(this.desk, columns), rows),
      ...(more ? [h("div", { class: "acts" }, again)] : []),
    );
  }

  private row(run: Run): (Node | string)[] {
    const count = (name: string): string => {
      const value = run.counts[name];
      return value === undefined ? "" : this.desk.number(value);
    };
    const figures = ["read", "inserted", "updated", "unchanged", "quarantined", "duplicates", "deleted"];
    return [
      h("a", { href: `#run=${run.run}` }, this.desk.word("run_number", { run: String(run.run) })),
      this.desk.title(run.layer),
      h("span", {}, badge(this.desk, run.state), ...(waits(run) ? [" ", this.desk.word("accepted_short")] : [])),
      this.desk.when(run.started_at, this.zones.get(run.layer)),
      duration(this.desk, run.seconds),
      ...figures.map(count),
    ];
  }
}

/** Whether somebody accepted the run and no load has heeded it yet. */
export function waits(run: Run): boolean {
  return run.acceptance !== null && run.acceptance.used_by === null && !run.overtaken;
}
