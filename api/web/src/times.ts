import { spellFreshness } from "./format";

/** Say `<time data-fresh>` as a person would: "today 06:12". */
export function tellTimes(): void {
  const language = document.documentElement.lang || "en";
  for (const time of document.querySelectorAll<HTMLTimeElement>("time[data-fresh]")) {
    time.textContent = spellFreshness(time.dateTime, language, time.dataset.zone);
  }
}
