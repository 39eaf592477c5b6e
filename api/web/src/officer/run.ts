/** One run: its figures, its gates, what it withheld, what it changed; and the word that lets it pass. */

import { h } from "../dom";
import type { Desk } from "./desk";
import { back, badge, duration, type Gate, type Run, signature, table } from "./parts";
import { waits } from "./overview";

const ADDS_UP = ["inserted", "updated", "unchanged", "quarantined", "duplicates"];
const BESIDE = ["deleted", "cells", "without_place"];
const WITHHELD_PAGE = 50;

interface Entry {
  id: number;
  file: string;
  line: number;
  column: string | null;
  key: string | null;
  reason: string;
  content: Record<string, unknown>;
}

export async function showRun(desk: Desk, number: number): Promise<void> {
  const run = (await desk.get(`/runs/${number}`)) as Run;
  const changes = h("section", {});
  desk.show(
    back(desk),
    h("h2", { class: "first" }, desk.word("run_of", { run: String(run.run), layer: desk.title(run.layer) }), " ", badge(desk, run.state)),
    ...(run.message ? [h("p", { class: "message" }, run.message)] : []),
    facts(desk, run),
    figures(desk, run),
    gates(desk, run),
    ...acceptance(desk, run),
    await quarantine(desk, run),
    changes,
  );
  if (run.state === "published" && run.revision !== null) await diff(desk, run, changes);
}

function facts(desk: Desk, run: Run): HTMLElement {
  const list = h("dl", { class: "facts-table" });
  const add = (word: string, ...value: (Node | string)[]): void =>
    list.append(h("dt", {}, desk.word(word)), h("dd", {}, ...value));
  add("layer", h("a", { href: `#layer=${encodeURIComponent(run.layer)}` }, desk.title(run.layer)));
  add("started", desk.when(run.started_at));
  if (run.seconds !== null) add("took", duration(desk, run.seconds));
  if (run.revision !== null) add("revision", desk.number(run.revision));
  for (const source of run.sources) {
    const size = new Intl.NumberFormat(desk.page.language, { style: "unit", unit: "byte", unitDisplay: "long" });
    const sum = h("code", { title: source.sha256 }, source.sha256.slice(0, 12));
    add("file", `${source.name} · ${size.format(source.bytes)} · SHA-256 `, sum);
  }
  if (run.accepted) add("let_pass", `${run.accepted.gates.join(", ")} · ${run.accepted.by}: ${run.accepted.note}`);
  return list;
}

function figures(desk: Desk, run: Run): HTMLElement {
  const count = (name: string): number => run.counts[name] ?? 0;
  const box = h("section", {}, h("h3", {}, desk.word("rows")));
  if (run.counts["read"] === undefined) {
    box.append(h("p", { class: "small" }, desk.word("no_figures")));
    return box;
  }
  const cell = (name: string, sign: string): HTMLElement =>
    h("div", { class: "sum", "data-sign": sign }, h("data", { value: String(count(name)) }, desk.number(count(name))), h("span", {}, desk.word(name)));
  // A run that was stopped never came to compare its rows.
  const compared = run.state === "published" || run.state === "unchanged";
  const sums = compared
    ? ADDS_UP.map((name, at) => cell(name, at + 1 < ADDS_UP.length ? "+" : ""))
    : [cell("quarantined", "")];
  box.append(h("div", { class: "sums" }, cell("read", compared ? "=" : ""), ...sums));
  const beside = BESIDE.filter(count).map((name) => `${desk.word(name)}: ${desk.number(count(name))}`);
  if (beside.length) box.append(h("p", { class: "small" }, beside.join(" · ")));
  return box;
}

function gates(desk: Desk, run: Run): HTMLElement {
  const box = h("section", {}, h("h3", {}, desk.word("gates")));
  if (!run.gates.length) {
    box.append(h("p", { class: "small" }, desk.word(run.state === "refused" ? "no_gate_stopped" : "gates_held")));
    return box;
  }
  const rows = run.gates.map((gate) => [
    h("code", {}, gate.gate),
    desk.word(gate.accepted ? "severity_accepted" : `severity_${gate.severity}`),
    share(desk, gate, gate.figure),
    share(desk, gate, gate.limit),
    gate.says,
  ]);
  const columns = [desk.word("gate"), desk.word("severity"), `#${desk.word("figure")}`, `#${desk.word("limit")}`, desk.word("says")];
  box.append(table(desk.word("gates"), columns, rows));
  return box;
}

/** Figures are shares of rows, but for the columns that came or went. */
function share(desk: Desk, gate: Gate, value: number | null): string {
  if (value === null) return "–";
  if (gate.gate === "columns") return desk.number(value);
  return new Intl.NumberFormat(desk.page.language, { style: "percent", maximumSignificantDigits: 3 }).format(value);
}

function acceptance(desk: Desk, run: Run): Node[] {
  const told = run.acceptance;
  if (told) {
    const values = { gates: told.gates.join(", "), by: told.by, note: told.note };
    const then = told.used_by
      ? desk.word("accepted_used", { run: String(told.used_by) })
      : desk.word(waits(run) ? "accepted_waits" : "accepted_void", { layer: run.layer, run: String(run.run) });
    return [h("section", { class: "notice" }, h("h3", {}, desk.word("accepted")), h("p", {}, desk.word("accepted_by", values)), h("p", {}, then))];
  }
  if (!run.stopped_by.length) return [];
  if (run.overtaken) return [h("p", { class: "small" }, desk.word("overtaken"))];
  if (!desk.may("runs:accept")) return [h("p", { class: "small" }, desk.word("no_scope", { scope: "runs:accept" }))];
  return [acceptForm(desk, run)];
}

function acceptForm(desk: Desk, run: Run): HTMLElement {
  const boxes = run.stopped_by.map((gate) => h("input", { type: "checkbox", value: gate, checked: true }));
  const signed = signature(desk);
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    const wanted = boxes.filter((box) => box.checked).map((box) => box.value);
    try {
      await desk.post(`/runs/${run.run}/accept`, { gates: wanted, ...signed.read() });
      await showRun(desk, run.run);
      desk.main.focus({ preventScroll: true });
      desk.sayWell(desk.word("accepted_done"));
    } catch (error) {
      desk.fail(error);
    }
  };
  const choices = boxes.map((box) => h("label", { class: "choice" }, box, h("code", {}, box.value)));
  return h("form", { class: "form notice", onsubmit: (event) => void send(event) },
    h("h3", {}, desk.word("accept")),
    h("p", {}, desk.word("accept_lead", { layer: run.layer, run: String(run.run) })),
    h("fieldset", {}, h("legend", {}, desk.word("accept_gates")), ...choices),
    ...signed.fields,
    h("div", { class: "acts" }, h("button", { class: "primary" }, desk.word("accept_act"))),
  );
}

async function quarantine(desk: Desk, run: Run): Promise<HTMLElement> {
  const box = h("section", {}, h("h3", {}, desk.word("quarantine")));
  if (!desk.may("quarantine:read")) {
    box.append(h("p", { class: "small" }, desk.word("no_scope", { scope: "quarantine:read" })));
    return box;
  }
  const shown: Entry[] = [];
  const list = h("div", {});
  const load = async (): Promise<void> => {
    const path = `/runs/${run.run}/quarantine?limit=${WITHHELD_PAGE}&after=${shown.at(-1)?.id ?? 0}`;
    const { entries } = (await desk.get(path)) as { entries: Entry[] };
    shown.push(...entries);
    const rows = shown.map((each) => [each.reason, each.file, desk.number(each.line), content(each)]);
    const columns = [desk.word("reason"), desk.word("file"), `#${desk.word("line")}`, desk.word("content")];
    const more = h("button", { type: "button", onclick: () => void load().catch((error: unknown) => desk.fail(error)) }, desk.word("more"));
    list.replaceChildren(
      table(desk.word("quarantine"), columns, rows),
      ...(entries.length === WITHHELD_PAGE ? [h("div", { class: "acts" }, more)] : []),
    );
  };
  await load();
  if (!shown.length) {
    box.append(h("p", { class: "small" }, desk.word("nothing_withheld")));
    return box;
  }
  const name = `quarantine-${run.run}.csv`;
  const save = (): void =>
    void desk.download(`/runs/${run.run}/quarantine.csv`, name).catch((error: unknown) => desk.fail(error));
  box.append(
    h("p", { class: "small" }, desk.word("quarantine_hint")),
    h("div", { class: "acts" }, h("button", { type: "button", onclick: save }, desk.word("csv"))),
    list,
  );
  return box;
}

function content(entry: Entry): HTMLElement {
  return h("details", {}, h("summary", {}, entry.column ?? entry.key ?? "…"), h("code", { class: "row" }, JSON.stringify(entry.content)));
}

async function diff(desk: Desk, run: Run, box: HTMLElement): Promise<void> {
  const revision = run.revision ?? 0;
  box.append(h("h3", {}, desk.word("changes")));
  try {
    const { showDiff } = await import("./diff");
    await showDiff(desk, run.layer, revision - 1, revision, box);
  } catch (error) {
    console.warn(error);
    box.append(h("p", { class: "small" }, desk.word("no_diff")));
  }
}
