import type { Changes } from "./changes";
import { spellFreshness, spellNumber } from "./format";
import type { Page } from "./page";

/** Say `<time data-fresh>` and `<data data-number>` as a person would: "today 06:12", "12,000". */
export function tellTimes(): void {
  const language = document.documentElement.lang || "en";
  for (const time of document.querySelectorAll<HTMLTimeElement>("time[data-fresh]")) {
    time.textContent = spellFreshness(time.dateTime, language, time.dataset.zone);
  }
  for (const number of document.querySelectorAll<HTMLDataElement>("data[data-number]")) {
    number.textContent = spellNumber(Number(number.value), language);
  }
}

/** Say when the newest data of a map changed, after a change. */
export function tellNewest(page: Page, changes: Changes): void {
  const time = document.querySelector<HTMLTimeElement>(".fresh time");
  if (!time) return;
  const data = page.map.layers.filter((layer) => layer.role === "data");
  for (const layer of data.length ? data : page.map.layers) {
    const updated = changes[layer.id]?.updated;
    if (!updated || Date.parse(updated) < Date.parse(time.dateTime)) continue;
    time.dateTime = updated;
    time.dataset.zone = layer.time_zone;
  }
  tellTimes();
}
