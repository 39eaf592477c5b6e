/** Values in the reader's language. */

import type { Column, Layer, Page } from "./page";
import { say } from "./page";

/** A value as text; empty where there is nothing to say. */
export function spell(value: unknown, column: Column, layer: Layer, page: Page): string {
  if (value === null || value === undefined || value === "") return "";
  const named = className(value, column, layer);
  if (named) return named;
  switch (column.type) {
    case "integer":
    case "number":
      return withUnit(spellNumber(Number(value), page.language), column.unit);
    case "boolean":
      return say(page, value ? "yes" : "no");
    case "date":
      return spellDate(String(value), page.language);
    case "datetime":
      return spellInstant(String(value), page.language, layer.time_zone);
    case "time":
      return String(value).slice(0, 5);
    case "json":
      return JSON.stringify(value);
    default:
      return withUnit(String(value), column.unit);
  }
}

/** "today 06:12", "yesterday 18:40", else the date: in the layer's own time zone. */
export function spellFreshness(instant: string, language: string, zone: string | undefined): string {
  const when = new Date(instant);
  const days = Math.round((dayOf(when, zone) - dayOf(new Date(), zone)) / 86_400_000);
  const hours = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone } as const;
  const clock = format(language, hours, when);
  if (days < -1 || days > 0) {
    return format(language, { dateStyle: "long", timeZone: zone }, when);
  }
  const day = new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(days, "day");
  return `${day} ${clock}`;
}

function className(value: unknown, column: Column, layer: Layer): string | null {
  const legend = layer.legend.light;
  if (column.name !== legend.column) return null;
  return legend.swatches.find((each) => each.value === String(value))?.label ?? null;
}

function spellDate(value: string, language: string): string {
  const day = new Date(`${value.slice(0, 10)}T00:00:00Z`);
  return isNaN(day.getTime()) ? value : format(language, { dateStyle: "long", timeZone: "UTC" }, day);
}

function spellInstant(value: string, language: string, zone: string): string {
  const instant = new Date(value.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00"));
  if (isNaN(instant.getTime())) return value;
  return format(language, { dateStyle: "long", timeStyle: "short", hourCycle: "h23", timeZone: zone }, instant);
}

export function spellNumber(value: number, language: string): string {
  // Four digits stay together: many of them are years and house numbers.
  const options = { maximumFractionDigits: 2, useGrouping: "min2" } as const;
  return new Intl.NumberFormat(regional(language), options).format(value);
}

function withUnit(text: string, unit: string | null): string {
  return unit ? `${text}\u00a0${unit}` : text;
}

function format(language: string, options: Intl.DateTimeFormatOptions, when: Date): string {
  return new Intl.DateTimeFormat(regional(language), options).format(when);
}

/** The reader's own variety of the page's language, such as en-GB for en. */
function regional(language: string): string {
  const own = navigator.languages.find((tag) => tag.split("-")[0] === language);
  return own ?? language;
}

/** Midnight of the day that an instant falls on in a time zone, as if the zone were UTC. */
function dayOf(instant: Date, zone: string | undefined): number {
  const parts = new Intl.DateTimeFormat("en-CA", { timeZone: zone }).format(instant);
  return Date.parse(`${parts.slice(0, 10)}T00:00:00Z`);
}
