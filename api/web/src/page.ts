/** What the server wrote into the page about the map it shows. */

export type Theme = "light" | "dark";

export interface Swatch {
  value: string | null;
  label: string | null;
}

export interface Legend {
  column: string | null;
  heading: string | null;
  swatches: Swatch[];
}

export interface Column {
  name: string;
  label: string;
  type: "text" | "integer" | "number" | "boolean" | "date" | "datetime" | "time" | "json";
  unit: string | null;
}

export interface Layer {
  id: string;
  title: string;
  role: string;
  visible: boolean;
  minzoom: number;
  legend: Record<Theme, Legend>;
  columns: Column[];
  label: string | null;
  time_zone: string;
  changed_at: string | null;
  licence: string;
  licence_url: string | null;
  empty: boolean;
  page: string;
  features: string;
}

export interface Words {
  [key: string]: unknown;
  maplibre: Record<string, string>;
}

export interface Page {
  language: string;
  words: Words;
  glyph_ranges: Record<string, string[]>;
  map: {
    title: string;
    page: string;
    view: { longitude: number; latitude: number; zoom: number } | null;
    bounds: [number, number, number, number] | null;
    styles: Record<Theme, string>;
    layers: Layer[];
    newest: Layer | null;
    changes: string;
    state: string;
  };
}

export function readPage(): Page {
  return JSON.parse(element("page").textContent ?? "") as Page;
}

/** The element of this id, which the template promises to hold. */
export function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

export function say(page: Page, word: string, values: Record<string, string> = {}): string {
  const text = String(page.words[word] ?? word);
  return text.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? "");
}
