/** What every view of the officers' page has: the key, the words, and the way to the server. */

import { h } from "../dom";
import { spellFreshness, spellNumber } from "../format";
import { element } from "../page";

const STORED = "quartier-key"; // in this tab's session alone; gone when the tab is closed

interface Page {
  language: string;
  words: { retry: string; never: string; runs: Record<string, string> };
  root: string;
  maps: Record<string, string>;
  titles: Record<string, string>;
  glyph_ranges: Record<string, string[]>;
}

export interface Key {
  id: string;
  name: string;
  scopes: string[];
  layers: string[] | null;
  expires_at: string | null;
}

/** The server said no; the message is its sentence. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export class Desk {
  readonly page = JSON.parse(element("page").textContent ?? "") as Page;
  readonly main = element("main");
  /** Who signs; typed once, for as long as the page is open. */
  name = "";
  private held = sessionStorage.getItem(STORED);
  private known: Key | null = null;

  get key(): string | null {
    return this.held;
  }

  word(name: string, values: Record<string, string> = {}): string {
    const text = this.page.words.runs[name] ?? name;
    return text.replace(/\{(\w+)\}/g, (_, value: string) => values[value] ?? "");
  }

  title(layer: string): string {
    return this.page.titles[layer] ?? layer;
  }

  number(value: number): string {
    return spellNumber(value, this.page.language);
  }

  when(instant: string | null, zone?: string): Node {
    if (!instant) return h("span", { class: "second" }, this.page.words.never);
    const told = spellFreshness(instant, this.page.language, zone);
    const whole = new Intl.DateTimeFormat(this.page.language, {
      dateStyle: "long", timeStyle: "medium", hourCycle: "h23", timeZone: zone,
    });
    return h("time", { datetime: instant, title: whole.format(new Date(instant)) }, told);
  }

  /** Take a key, if it opens anything; throws Refused. */
  async take(key: string): Promise<void> {
    this.held = key;
    this.known = null;
    try {
      await this.signIn();
    } catch (error) {
      this.signOut();
      throw error;
    }
    sessionStorage.setItem(STORED, key);
  }

  async signIn(): Promise<void> {
    this.known ??= (await this.get("/runs/key")) as Key;
    const out = h("button", { type: "button", class: "quiet", onclick: () => this.leave() }, this.word("sign_out"));
    element("who").replaceChildren(h("span", {}, this.known.name), out);
  }

  signOut(): void {
    this.held = null;
    this.known = null;
    sessionStorage.removeItem(STORED);
    element("who").replaceChildren();
  }

  may(scope: string): boolean {
    return this.known?.scopes.includes(scope) ?? false;
  }

  show(...content: Node[]): void {
    element("view").replaceChildren(...content);
  }

  /** Tell something to eyes and to screen readers. */
  say(text: string): void {
    element("say").textContent = text;
    delete element("say").dataset.tone;
  }

  sayWell(text: string): void {
    this.say(text);
    element("say").dataset.tone = "good";
    element("say").scrollIntoView({ block: "center" });
  }

  fail(error: unknown, again?: () => void): void {
    const text = error instanceof Refused ? error.message : this.word("failed");
    this.say(text);
    element("say").dataset.tone = "bad";
    element("say").scrollIntoView({ block: "nearest" });
    if (again) {
      element("say").append(" ", h("button", { type: "button", onclick: () => again() }, this.page.words.retry));
    }
  }

  async get(path: string): Promise<unknown> {
    return (await this.fetch(path)).json();
  }

  async post(path: string, body: unknown): Promise<unknown> {
    const headers = { "Content-Type": "application/json" };
    return (await this.fetch(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
  }

  /** Save a file that only the key opens: a plain link could not send it. */
  async download(path: string, name: string): Promise<void> {
    const url = URL.createObjectURL(await (await this.fetch(path)).blob());
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  /** What anybody may ask, without the key. */
  async ask(path: string): Promise<unknown> {
    return (await this.fetch(path, {}, false)).json();
  }

  private async fetch(path: string, options: RequestInit = {}, withKey = true): Promise<Response> {
    const headers: Record<string, string> = { Accept: "application/json" };
    if (withKey && this.held) headers["Authorization"] = `Bearer ${this.held}`;
    const answer = await fetch(this.page.root + path, {
      ...options,
      headers: { ...headers, ...(options.headers as Record<string, string>) },
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
    if (answer.ok) return answer;
    const said = (await answer.json().catch(() => ({}))) as { detail?: string };
    throw new Refused(answer.status, said.detail ?? this.word("failed"));
  }

  private leave(): void {
    this.signOut();
    history.replaceState(null, "", location.pathname + location.search);
    location.reload();
  }
}
