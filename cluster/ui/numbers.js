// Numbers as people read them, as cluster/wording.py has them.

export const NONE = "—";
const isNone = (number) => number === null || number === undefined || Number.isNaN(number);

// 950, 12.3k, 1.23M
export function count(number) {
  if (isNone(number)) return NONE;
  for (const [larger, suffix] of [[1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(number) >= larger * 0.9995) return String(Number((number / larger).toPrecision(3))) + suffix;
  }
  return Number.isInteger(number) ? String(number) : String(Number(number.toPrecision(3)));
}

export const whole = (number) => (isNone(number) ? NONE : Math.round(number).toLocaleString("en-US"));
export const decimals = (number, places) => (isNone(number) ? NONE : number.toFixed(places));
export const short = (number) => (isNone(number) ? NONE : String(Number(Number(number).toPrecision(3))));

// 0.4%, 12%, 100%; what is not all never reads as 100%
export function percent(share) {
  if (isNone(share)) return NONE;
  const hundredths = 100 * share;
  if (hundredths > 0 && hundredths < 0.05) return `${Number(hundredths.toPrecision(2))}%`;
  if (hundredths >= 99.5 && hundredths < 100) return `${Math.floor(hundredths * 10) / 10}%`;
  return hundredths > 0 && hundredths < 9.95 ? `${hundredths.toFixed(1)}%` : `${hundredths.toFixed(0)}%`;
}

export function duration(seconds) {
  if (isNone(seconds)) return NONE;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export const plural = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
export const moment = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 19);
export const ago = (ms) => `${duration(Math.max(0, Date.now() - ms) / 1000)} ago`;
export const bytes = (number) =>
  number >= 2 ** 30 ? `${(number / 2 ** 30).toFixed(1)} GiB` : `${(number / 2 ** 20).toFixed(1)} MiB`;
