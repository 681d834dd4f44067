// Numbers for display: thousands separators, a dash for unknown, times in the market's zone.

export const ms = (ns) => Number(ns) / 1e6;
export const seconds = (ns) => Number(ns) / 1e9;

export function figure(value, digits = 0) {
  if (value === null || value === undefined || !Number.isFinite(Number(value))) return "–";
  const text = Number(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return /^-[0.,]*$/.test(text) ? text.slice(1) : text;
}

// Prices keep as many digits as they need, between two and six.
export const price = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(value) < 1 ? 6 : 4 }));
export const percent = (share, digits = 1) => (share === null || share === undefined || !Number.isFinite(share) ? "–" : `${figure(100 * share, digits)}%`);

export function clock(ns, zone) {
  if (!ns) return "–";
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" }).format(new Date(ms(ns)));
}

export function day(ns, zone) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" }).format(new Date(ms(ns)));
}

// Amounts and their total, as text whose digits add up: an amount is the difference of two rounded running sums.
export function addends(values, total, digits = 2) {
  if (values.some((value) => value === null || value === undefined)) return [...values, total].map((value) => figure(value, digits));
  const unit = 10 ** digits;
  let [sum, shown] = [0, 0];
  const texts = values.map((value) => {
    sum += value;
    const part = Math.round(sum * unit) - shown;
    shown += part;
    return figure(part / unit, digits);
  });
  return [...texts, figure(shown / unit, digits)];
}

export const bps = (value, mid) => (value === null || value === undefined || !mid ? null : (value / mid) * 1e4);

// Per-share impact of a model at a size, price.
export function impact(m, q) {
  return m.half_spread + (m.beta ?? 0) * q + (m.alpha ?? 0) * q * q + (m.eta ? m.eta * q ** (m.delta ?? 1) : 0);
}

// Its standard error, the terms taken as independent.
export function impactError(m, q) {
  const se = m.se ?? {};
  return Math.hypot(se.half_spread ?? 0, (se.beta ?? 0) * q, (se.alpha ?? 0) * q * q, (se.eta ?? 0) * q ** (m.delta ?? 1));
}

export function median(values) {
  const sorted = values.filter((v) => v !== null && Number.isFinite(v)).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
