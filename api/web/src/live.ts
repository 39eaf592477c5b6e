/** The stream of changes: open while somebody looks, resumed where it was left. */

import { type Change, type Changes, EVERYWHERE } from "./changes";

const SOONEST = 1_000; // milliseconds before a lost stream is asked for again, at first
const LATEST = 60_000; // and at last

/** Hears what changed, and whether a layer is declared otherwise or no more. */
type Hear = (changes: Changes, anew: boolean) => void;

/** Tell `hear` of every change, from the state that the page was made in. */
export function followChanges(url: string, state: string, hear: Hear): void {
  new Live(url, state, hear).start();
}

class Live {
  private stream: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private onScreen = true;
  private readonly configurations = new Map<string, string>();

  constructor(
    private readonly url: string,
    private heard: string,
    private readonly hear: Hear,
  ) {}

  start(): void {
    document.addEventListener("visibilitychange", () => this.update());
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", () => this.update());
    // Browsers keep few connections to a host: of several maps in one page, those in sight do.
    const watching = new IntersectionObserver((seen) => {
      this.onScreen = seen.some((each) => each.isIntersecting);
      this.update();
    });
    watching.observe(document.documentElement);
    this.update();
  }

  private update(): void {
    const wanted = this.onScreen && document.visibilityState === "visible";
    if (!wanted) this.close();
    else if (!this.stream && this.timer === undefined) this.open();
  }

  private close(): void {
    this.stream?.close();
    this.stream = null;
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  private open(): void {
    this.timer = undefined;
    const since = this.heard && `&since=${encodeURIComponent(this.heard)}`;
    const stream = new EventSource(this.url + since);
    stream.addEventListener("change", (event) => this.read(event));
    stream.addEventListener("state", (event) => {
      this.failures = 0;
      this.read(event);
    });
    stream.addEventListener("error", () => this.later());
    this.stream = stream;
  }

  /** The map goes on without; a browser's own way would ask every few seconds for ever. */
  private later(): void {
    this.close();
    const wait = Math.min(LATEST, SOONEST * 2 ** this.failures);
    this.failures += 1;
    this.timer = setTimeout(() => this.open(), wait * (0.5 + Math.random()));
  }

  private read({ data, lastEventId }: MessageEvent<string>): void {
    const { layers } = JSON.parse(data) as { layers: Changes };
    const anew = Object.entries(layers).filter(([id, layer]) => this.isAnew(id, layer));
    const told = Object.entries(layers).filter(([, layer]) => layer.cells);
    for (const [id, layer] of anew) told.push([id, { ...layer, all: true, cells: [EVERYWHERE] }]);
    this.heard = lastEventId;
    if (told.length) this.hear(Object.fromEntries(told), anew.length > 0);
  }

  /** Whether a layer is not as it was declared when it was last heard of. */
  private isAnew(id: string, { configuration = "" }: Change): boolean {
    const known = this.configurations.get(id);
    this.configurations.set(id, configuration);
    return known !== undefined && known !== configuration;
  }
}
