/** The revisions of a layer, and the way back to one. */

import { h } from "../dom";
import type { Desk } from "./desk";
import { back, signature, table } from "./parts";

interface Revision {
  revision: number;
  made_at: string;
  inserted: number;
  updated: number;
  deleted: number;
  run: number | null;
  made_by: string;
  note: { back_to: number; by: string; note: string } | null;
}

interface Counts {
  added: number;
  changed: number;
  removed: number;
}

const PAGE = 50;

export async function showLayer(desk: Desk, layer: string, shown: Revision[] = []): Promise<void> {
  const last = shown.at(-1);
  const asked = new URLSearchParams({ limit: String(PAGE), ...(last ? { before: String(last.revision) } : {}) });
  const path = `/runs/layers/${encodeURIComponent(layer)}/revisions?${asked}`;
  const found = (await desk.get(path)) as { revisions: Revision[] };
  const revisions = [...shown, ...found.revisions];
  const again = (): void => void showLayer(desk, layer, revisions).catch((error: unknown) => desk.fail(error));
  const more = h("button", { type: "button", onclick: again }, desk.word("more"));
  const newest = revisions[0]?.revision ?? 0;
  const may = desk.may("data:rollback");
  const rows = revisions.map((each) => [
    desk.number(each.revision),
    desk.when(each.made_at),
    ...(may ? [each.revision < newest ? goBack(desk, layer, each.revision, newest) : desk.word("now")] : []),
    whence(desk, each),
    ...[each.inserted, each.updated, each.deleted].map((count) => desk.number(count)),
  ]);
  const columns = [
    `#${desk.word("revision")}`, desk.word("made"), ...(may ? [desk.word("rollback")] : []), desk.word("whence"),
    `#${desk.word("inserted")}`, `#${desk.word("updated")}`, `#${desk.word("deleted")}`,
  ];
  desk.show(
    back(desk),
    h("h2", { class: "first" }, desk.word("revisions_of", { layer: desk.title(layer) })),
    h("p", { class: "small" }, may ? desk.word("rollback_lead") : desk.word("no_scope", { scope: "data:rollback" })),
    rows.length ? table(desk.word("revision"), columns, rows) : h("p", { class: "small" }, desk.word("no_revisions")),
    ...(found.revisions.length === PAGE ? [h("div", { class: "acts" }, more)] : []),
  );
}

function whence(desk: Desk, each: Revision): Node | string {
  if (each.note) {
    const values = { revision: String(each.note.back_to), by: each.note.by, note: each.note.note };
    return desk.word("went_back", values);
  }
  if (each.run) return h("a", { href: `#run=${each.run}` }, desk.word("run_number", { run: String(each.run) }));
  return desk.word("edited_by", { by: each.made_by });
}

function goBack(desk: Desk, layer: string, revision: number, newest: number): HTMLElement {
  const label = desk.word("rollback_to", { revision: String(revision) });
  return h("button", { type: "button", onclick: () => openDialog(desk, layer, revision, newest) }, label);
}

/** First who and why; then what it would do, and only then the act. */
function openDialog(desk: Desk, layer: string, revision: number, newest: number): void {
  const signed = signature(desk);
  const problem = h("p", { role: "alert", class: "problem" });
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
  const cancel = (): HTMLElement => h("button", { type: "button", onclick: () => dialog.close() }, desk.word("cancel"));
  const title = desk.word("rollback_title", { layer: desk.title(layer), revision: String(revision) });
  const ask = h("form", { class: "form" },
    ...signed.fields,
    problem,
    h("div", { class: "acts" }, h("button", { class: "primary" }, desk.word("go_on")), cancel()),
  );
  ask.addEventListener("submit", (event) => {
    event.preventDefault();
    void confirm(ask);
  });
  const confirm = async (form: HTMLFormElement): Promise<void> => {
    const said = await consequences(desk, layer, revision);
    const { by, note } = signed.read();
    const act = h("button", { type: "button", class: "primary", onclick: () => void carryOut(act) }, desk.word("rollback_act"));
    form.replaceWith(
      h("div", { class: "form" },
        h("p", {}, said),
        h("p", { class: "small" }, `${by}: ${note}`),
        problem,
        h("div", { class: "acts" }, act, cancel()),
      ),
    );
    act.focus();
  };
  const carryOut = async (act: HTMLButtonElement): Promise<void> => {
    act.disabled = true;
    problem.textContent = desk.word("loading");
    try {
      const path = `/runs/layers/${encodeURIComponent(layer)}/rollback`;
      const done = (await desk.post(path, { revision, seen: newest, ...signed.read() })) as { revision: number };
      dialog.close();
      await showLayer(desk, layer);
      desk.main.focus({ preventScroll: true });
      desk.sayWell(desk.word("rollback_done", { revision: String(revision), now: String(done.revision) }));
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error);
      act.disabled = false;
    }
  };
  dialog.append(h("h2", { id: "dialog-title" }, title), ask);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** What going back would do, in words; a layer that is hidden from readers has no public answer. */
async function consequences(desk: Desk, layer: string, revision: number): Promise<string> {
  try {
    const path = `/collections/${encodeURIComponent(layer)}/diff?since=${revision}&limit=1`;
    const { counts } = (await desk.ask(path)) as { counts: Counts };
    const told = { back: counts.removed, changed: counts.changed, gone: counts.added };
    const values = Object.entries(told).map(([name, count]) => [name, desk.number(count)]);
    return desk.word("rollback_would", Object.fromEntries(values) as Record<string, string>);
  } catch {
    return desk.word("rollback_unknown");
  }
}
