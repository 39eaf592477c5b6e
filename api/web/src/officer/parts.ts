/** Pieces that several views are made of. */

import { h } from "../dom";
import type { Desk } from "./desk";

export interface Gate {
  gate: string;
  severity: "refuse" | "warn";
  figure: number | null;
  limit: number | null;
  says: string;
  accepted: boolean;
}

export interface Run {
  run: number;
  layer: string;
  state: "running" | "published" | "unchanged" | "refused";
  started_at: string;
  finished_at: string | null;
  seconds: number | null;
  revision: number | null;
  counts: Record<string, number>;
  gates: Gate[];
  stopped_by: string[];
  accepted: { gates: string[]; by: string; note: string } | null;
  acceptance: { gates: string[]; by: string; note: string; at: string; used_by: number | null } | null;
  overtaken: boolean;
  message: string | null;
  tool_version: string | null;
  sources: { name: string; bytes: number; sha256: string }[];
}

const SIGNS: Record<string, string> = { published: "✓", unchanged: "=", refused: "✕", running: "…", late: "!", ok: "✓" };

/** A state: a sign, a word and a colour, any two of which would do. */
export function badge(desk: Desk, state: string): HTMLElement {
  const sign = h("span", { "aria-hidden": "true" }, SIGNS[state] ?? "·");
  return h("span", { class: "badge", "data-state": state }, sign, desk.word(`state_${state}`));
}

export function duration(desk: Desk, seconds: number | null): string {
  if (seconds === null) return "";
  const minutes = Math.floor(seconds / 60);
  const rest = `${desk.number(minutes ? Math.round(seconds % 60) : Math.round(seconds * 10) / 10)}\u00a0s`;
  return minutes ? `${desk.number(minutes)}\u00a0min ${rest}` : rest;
}

/** A table in a frame that scrolls by itself, also by keys. Columns that begin with # hold figures. */
export function table(label: string, columns: string[], rows: (Node | string)[][]): HTMLElement {
  const figures = columns.map((column) => column.startsWith("#"));
  const head = columns.map((column, at) =>
    h("th", { scope: "col", class: figures[at] ? "figure" : false }, column.replace(/^#/, "")),
  );
  const body = rows.map((row) =>
    h("tr", {}, ...row.map((cell, at) => h("td", { class: figures[at] ? "figure" : false }, cell))),
  );
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": label },
    h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...body)),
  );
}

let fields = 0;

export function field(label: string, control: HTMLElement, hint = ""): HTMLElement {
  control.id ||= `field-${++fields}`;
  const told = h("p", { id: `${control.id}-hint`, class: "small" }, hint);
  if (hint) control.setAttribute("aria-describedby", told.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, ...(hint ? [told] : []));
}

/** Name and note of whoever signs, and a way to read them. */
export function signature(desk: Desk): { fields: HTMLElement[]; read: () => { by: string; note: string } } {
  const by = h("input", { required: true, maxlength: "200", autocomplete: "name" });
  const note = h("textarea", { required: true, maxlength: "2000", rows: "2" });
  by.value = desk.name;
  return {
    fields: [field(desk.word("by"), by), field(desk.word("note"), note, desk.word("note_hint"))],
    read: () => ({ by: (desk.name = by.value.trim()), note: note.value.trim() }),
  };
}

export function back(desk: Desk): HTMLElement {
  return h("p", { class: "links" }, h("a", { href: "#" }, desk.word("back")));
}
