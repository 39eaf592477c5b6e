/** The panel: layers that are switched by their legend, and on phones a sheet of three heights. */

import type { MapLibreEvent } from "maplibre-gl";

import type { Atlas } from "./atlas";
import type { Choices } from "./choices";

const HEIGHTS = ["peek", "half", "full"] as const;
type Height = (typeof HEIGHTS)[number];

export function switchLayers(atlas: Atlas, choices: Choices): void {
  for (const box of document.querySelectorAll<HTMLInputElement>("input[data-switch]")) {
    const id = box.dataset.switch ?? "";
    box.checked = choices.visible.has(id);
    box.addEventListener("change", () => {
      choices.switchLayer(id, box.checked);
      atlas.refresh(id);
    });
  }
  for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-class]")) {
    const id = button.dataset.class ?? "";
    const value = button.dataset.value ?? null;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      choices.switchClass(id, value, on);
      atlas.refresh(id);
    });
  }
}

/** Mark the layers that only appear closer in. */
export function followZoom(atlas: Atlas): void {
  const rows = document.querySelectorAll<HTMLElement>("[data-minzoom]");
  const mark = ({ target }: Pick<MapLibreEvent, "target">): void => {
    for (const row of rows) {
      row.classList.toggle("closer", target.getZoom() < Number(row.dataset.minzoom));
    }
  };
  atlas.map.on("zoomend", mark);
  mark({ target: atlas.map });
}

export function slideSheet(panel: HTMLElement, grip: HTMLElement): void {
  let start: { y: number; height: number } | null = null;
  let dragged = false;
  grip.addEventListener("pointerdown", (event) => {
    start = { y: event.clientY, height: panel.getBoundingClientRect().height };
    dragged = false;
    grip.setPointerCapture(event.pointerId);
  });
  grip.addEventListener("pointermove", (event) => {
    if (!start) return;
    const moved = start.y - event.clientY;
    if (Math.abs(moved) > 6) dragged = true;
    if (dragged) panel.style.setProperty("height", `${start.height + moved}px`);
  });
  const drop = (): void => {
    if (start && dragged) settle(panel, grip, nearest(panel));
    start = null;
  };
  grip.addEventListener("pointerup", drop);
  grip.addEventListener("pointercancel", drop);
  grip.addEventListener("click", () => {
    if (!dragged) settle(panel, grip, next(panel, 1, true));
  });
  grip.addEventListener("keydown", (event) => {
    if (event.key === "ArrowUp") settle(panel, grip, next(panel, 1, false));
    else if (event.key === "ArrowDown") settle(panel, grip, next(panel, -1, false));
    else return;
    event.preventDefault();
  });
}

function settle(panel: HTMLElement, grip: HTMLElement, height: Height): void {
  panel.style.removeProperty("height");
  panel.dataset.height = height;
  grip.setAttribute("aria-expanded", String(height !== "peek"));
}

function next(panel: HTMLElement, step: number, around: boolean): Height {
  const at = HEIGHTS.indexOf((panel.dataset.height ?? "peek") as Height) + step;
  const last = HEIGHTS.length - 1;
  const index = around ? at % HEIGHTS.length : Math.min(last, Math.max(0, at));
  return HEIGHTS[index] ?? "peek";
}

function nearest(panel: HTMLElement): Height {
  const share = panel.getBoundingClientRect().height / innerHeight;
  if (share < 0.28) return "peek";
  return share < 0.7 ? "half" : "full";
}
