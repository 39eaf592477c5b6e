/** The states of a map that is not simply there: loading, empty, broken, impossible. */

import { h } from "./dom";
import { element, type Page, say } from "./page";

export class State {
  private readonly box = element("state");

  constructor(private readonly page: Page) {}

  loading(): void {
    this.show("loading", h("p", {}, say(this.page, "loading")));
  }

  /** The map is drawn. What is empty says so; anything else leaves the map alone. */
  ready(): void {
    if (this.box.dataset.state !== "loading") return;
    if (this.page.map.layers.every((layer) => layer.empty)) {
      this.show("empty", h("p", {}, say(this.page, "empty")));
    } else {
      this.hide();
    }
  }

  failed(retry: () => void): void {
    const again = h("button", { type: "button", onclick: retry }, say(this.page, "retry"));
    this.show("failed", h("p", {}, say(this.page, "failed")), again);
  }

  impossible(): void {
    const data = this.page.map.layers.filter((layer) => layer.role === "data");
    const links = (data.length ? data : this.page.map.layers).map((layer) =>
      h("li", {}, h("a", { href: layer.page }, layer.title)),
    );
    this.show("impossible", h("p", {}, say(this.page, "webgl")), h("ul", {}, ...links));
  }

  private show(state: string, ...content: Node[]): void {
    if (this.box.dataset.state === state) return;
    this.box.dataset.state = state;
    this.box.replaceChildren(...content);
    this.box.hidden = false;
  }

  private hide(): void {
    this.box.dataset.state = "";
    this.box.hidden = true;
  }
}
