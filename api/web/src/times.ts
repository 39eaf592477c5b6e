import { spellFreshness, spellNumber } from "./format";

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
