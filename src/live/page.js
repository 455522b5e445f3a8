
"use strict";

// Rates are over RATE seconds, errors and percentiles over WINDOW, plots over SPAN.
const INTERVAL = 2, RATE = 10, WINDOW = 60, SPAN = 300;
// How many scrapes are kept for plots, and how many of them for the window.
const POINTS = SPAN / INTERVAL + 10, RECENT = WINDOW / INTERVAL + 2;
// More routes than this are not in the table at once; a filter finds the others.
const MOST_ROWS = 1000;
// A request in progress for so long is not among the oldest, in seconds: that of the page itself.
const YOUNG = 0.05;
const ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
// What a monitor is called that the service's registry does not know, because it is elsewhere.
const KNOWN = [
  {
    requests: { name: "request_count", labels: { method: "method", path: "path", status: "status" } },
    latency: { name: "request_latency", labels: { method: "method", path: "path" } },
    in_progress: { name: "requests_in_progress", labels: { method: "method", path: "path" } },
    oldest: { name: "oldest_request_in_progress_seconds", labels: { method: "method", path: "path" } },
    objective_met: { name: "request_objective_met", labels: { path: "path" } },
    objective_missed: { name: "request_objective_missed", labels: { path: "path" } },
    objective_ratio: { name: "request_objective_ratio", labels: { path: "path" } },
  },
];
// Families that are not a monitor's; the registry may put a prefix before them.
const OTHERS = {
  actix_worker_busy_seconds: ["busy", "_total"],
  actix_connections_open: ["open", ""],
  actix_connections_accepted: ["accepted", "_total"],
};

const GAUGES = ["in_progress", "oldest", "objective_ratio"];
const COUNTERS = ["requests", "bucket", "count", "busy", "accepted", "objective_met", "objective_missed"];

const byId = (id) => document.getElementById(id);

// ---------------------------------------------------------------- reading

/** The samples of a scrape by what they are to the page; `monitor` says what its families are called. */
function parse(text, monitor) {
  const kinds = new Map();
  const add = (name, kind) => kinds.set(name, kind);
  for (const [role, { name }] of Object.entries(monitor)) {
    if (role === "latency") {
      add(name + "_bucket", "bucket");
      add(name + "_count", "count");
    } else if (GAUGES.includes(role)) {
      add(name, role);
    } else {
      add(name + "_total", role);
    }
  }
  const families = new Set();
  const samples = { requests: [], bucket: [], count: [], in_progress: [], oldest: [], busy: [], open: [], accepted: [], objective_met: [], objective_missed: [], objective_ratio: [] };
  let isComplete = false;
  for (let begin = 0; begin < text.length; ) {
    let end = text.indexOf("\n", begin);
    if (end < 0) end = text.length;
    if (text.charCodeAt(begin) === 35) {
      const line = text.slice(begin, end);
      if (line === "# EOF") isComplete = true;
      const [, family] = /^# TYPE (\S+) /.exec(line) || [];
      if (family) {
        // Prometheus text has the suffix of a counter in its name.
        families.add(family.replace(/_total$/, ""));
        for (const [name, [kind, suffix]] of Object.entries(OTHERS)) {
          const known = family.replace(/_total$/, "");
          if (known === name || known.endsWith("_" + name)) add(known + suffix, kind);
        }
      }
    } else {
      const sample = readSample(text, begin, end, kinds);
      if (sample) samples[sample.kind].push(sample);
    }
    begin = end + 1;
  }
  return { monitor, samples, families, isComplete };
}

/** One line; `null` if it is none of ours, or cannot be read. */
function readSample(text, begin, end, kinds) {
  let at = begin;
  while (at < end && text[at] !== "{" && text[at] !== " ") at++;
  const kind = kinds.get(text.slice(begin, at));
  if (!kind) return null;
  let labels = NO_LABELS;
  if (text[at] === "{") {
    const from = at + 1;
    let isQuoted = false;
    for (at = from; at < end; at++) {
      const c = text.charCodeAt(at);
      if (isQuoted && c === 92) at++;
      else if (c === 34) isQuoted = !isQuoted;
      else if (c === 125 && !isQuoted) break;
    }
    if (at >= end) return null;
    labels = labelsOf(text.slice(from, at));
    at++;
  }
  if (!labels || text[at] !== " ") return null;
  // Behind the value may be a timestamp, and an exemplar.
  const value = numberOf(text.slice(at + 1, end).split(" ", 1)[0]);
  return Number.isNaN(value) ? null : { kind, key: text.slice(begin, at), labels, value };
}

const NO_LABELS = new Map();
/** Labels by their text, which is the same in each scrape. */
const parsedLabels = new Map();

function labelsOf(text) {
  let labels = parsedLabels.get(text);
  if (labels === undefined) {
    labels = readLabels(text);
    if (parsedLabels.size > 200000) parsedLabels.clear();
    parsedLabels.set(text, labels);
  }
  return labels;
}

function readLabels(text) {
  const label = /\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)/y;
  const labels = new Map();
  while (label.lastIndex < text.length) {
    const read = label.exec(text);
    if (!read) return null;
    labels.set(read[1], read[2].replace(/\\(["\\n])/g, (_, c) => (c === "n" ? "\n" : c)));
  }
  return labels;
}

function numberOf(text) {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return text === "" ? NaN : Number(text);
}

// ---------------------------------------------------------------- keeping

/** The numbers of a route, or of all routes: for each scrape, the increase since the one before. */
class Row {
  constructor(method, path) {
    Object.assign(this, { method, path, total: 0, running: undefined, oldest: undefined, isSeen: false, kept: null });
    this.name = path === "" ? "no route" : path ?? "all routes";
  }

  /** A route without requests costs no memory. */
  keep() {
    this.kept ??= { requests: new Float64Array(POINTS), errors: new Float64Array(POINTS), buckets: null };
    return this.kept;
  }

  begin(slot) {
    Object.assign(this, { total: 0, running: undefined, oldest: undefined, isSeen: false });
    if (!this.kept) return;
    this.kept.requests[slot] = this.kept.errors[slot] = 0;
    const width = store.bounds.length;
    this.kept.buckets?.fill(0, (store.scrapes % RECENT) * width, (store.scrapes % RECENT + 1) * width);
  }

  /** The sum over the scrapes of the last `seconds`. */
  sum(what, seconds) {
    let sum = 0;
    if (this.kept) store.eachSince(seconds, (slot) => (sum += this.kept[what][slot]));
    return sum;
  }

  update() {
    const seconds = store.measured(RATE);
    this.rate = seconds ? this.sum("requests", RATE) / seconds : undefined;
    this.recent = this.sum("requests", WINDOW);
    this.recentErrors = this.sum("errors", WINDOW);
    this.share = store.hasStatus && this.recent ? this.recentErrors / this.recent : undefined;
    const counts = this.counts();
    this.p50 = quantile(0.5, counts);
    this.p95 = quantile(0.95, counts);
    this.p99 = quantile(0.99, counts);
  }

  /** How many requests of the window took no longer than each bound. */
  counts() {
    const buckets = this.kept?.buckets;
    if (!buckets) return null;
    const width = store.bounds.length;
    const counts = new Float64Array(width);
    store.eachSince(WINDOW, (slot, scrape) => {
      if (scrape <= store.scrapes - RECENT) return;
      const from = (scrape % RECENT) * width;
      for (let i = 0; i < width; i++) counts[i] += buckets[from + i];
    });
    return counts;
  }
}

/** As `histogram_quantile` of Prometheus; infinite if it is above the highest bound. */
function quantile(q, counts) {
  const bounds = store.bounds;
  const all = counts ? counts[bounds.length - 1] : 0;
  if (!all || bounds.length < 2) return undefined;
  const rank = q * all;
  let i = 0;
  while (i < bounds.length - 1 && counts[i] < rank) i++;
  if (bounds[i] === Infinity) return Infinity;
  const [lower, below] = i ? [bounds[i - 1], counts[i - 1]] : [0, 0];
  const within = counts[i] - below;
  return within ? lower + (bounds[i] - lower) * ((rank - below) / within) : bounds[i];
}

const store = {
  monitor: null,
  /** The values of all counters in the scrape before; `null` where that is too long ago. */
  last: null,
  scrapes: 0,
  /** Of each kept scrape: when it was, and the seconds since the one before. */
  times: new Float64Array(POINTS),
  spans: new Float64Array(POINTS),
  /** Of each kept scrape: whether there is a gap before it. */
  gaps: new Uint8Array(POINTS),
  /** Whether there has been no answer since the last one. */
  hasFailed: false,
  rows: new Map(),
  /** Of each family, the rows that were found for labels. */
  found: new Map(),
  all: new Row(),
  bounds: [],
  hasStatus: false,
  lines: {},
  workers: new Map(),
  objectives: new Map(),
  restarted: null,
  restarts: 0,

  clear(monitor) {
    Object.assign(this, { monitor, last: null, scrapes: 0, rows: new Map(), found: new Map(), all: new Row(), bounds: [], restarted: null, restarts: 0 });
    this.workers = new Map();
    this.objectives = new Map();
    const line = () => new Float64Array(POINTS).fill(NaN);
    this.lines = { rate: line(), share: line(), p50: line(), p95: line(), p99: line(), running: line(), open: line() };
    const families = ["requests", "latency", "in_progress", "oldest"].map((role) => monitor[role]).filter(Boolean);
    const withPath = families.filter(({ labels }) => labels.path);
    const dimensions = ["method", "path"];
    this.dimensions = dimensions.filter((name) => (withPath.length ? withPath : families).every(({ labels }) => labels[name]));
  },

  /** Calls `each` with the place and the number of each scrape of the last `seconds`. */
  eachSince(seconds, each) {
    const now = this.times[(this.scrapes - 1) % POINTS];
    for (let scrape = this.scrapes - 1; scrape >= 0 && scrape > this.scrapes - POINTS; scrape--) {
      const slot = scrape % POINTS;
      // The last one in any case, however long it took.
      const isOld = this.times[slot] - this.spans[slot] < now - seconds - INTERVAL / 2;
      if (isOld && scrape < this.scrapes - 1) return;
      each(slot, scrape);
    }
  },

  /** How far back plots reach: a minute at first. */
  shownSeconds() {
    let oldest = this.times[(this.scrapes - 1) % POINTS];
    const now = oldest;
    this.eachSince(SPAN, (slot) => (oldest = this.times[slot]));
    return Math.max(WINDOW, Math.min(SPAN, now - oldest));
  },

  /** How many of the last `seconds` are known. */
  measured(seconds) {
    let sum = 0;
    this.eachSince(seconds, (slot) => (sum += this.spans[slot]));
    return sum;
  },

  row(family, labels) {
    const [method, path] = ["method", "path"].map((name) =>
      this.dimensions.includes(name) ? labels.get(family.labels[name]) ?? "" : undefined);
    const key = JSON.stringify([method, path]);
    return this.rows.get(key) ?? this.rows.set(key, new Row(method, path)).get(key);
  },

  isByRow(family) {
    return this.dimensions.every((name) => family.labels[name]);
  },

  /** The rows that a series of this family belongs to. */
  rowsOf(family, labels) {
    if (!this.isByRow(family)) return [this.all];
    let found = this.found.get(family);
    if (!found) this.found.set(family, (found = new WeakMap()));
    let rows = found.get(labels);
    if (!rows) found.set(labels, (rows = [this.all, this.row(family, labels)]));
    rows[1].isSeen = true;
    return rows;
  },

  record({ samples }, time) {
    const before = this.last;
    const current = new Map();
    for (const kind of COUNTERS) for (const { key, value } of samples[kind]) current.set(key, value);
    const lastTime = this.scrapes ? this.times[(this.scrapes - 1) % POINTS] : time;
    // Of what happened longer ago nobody knows when.
    const isKnown = before !== null && time - lastTime < WINDOW;
    const slot = this.scrapes % POINTS;
    this.times[slot] = time;
    this.spans[slot] = isKnown ? time - lastTime : 0;
    this.gaps[slot] = !isKnown || this.hasFailed ? 1 : 0;
    this.hasFailed = false;
    // Counters fall, or are gone, only when the service has started again. Then all of them have begun at zero.
    const hasRestarted = isKnown && [...before].some(([key, value]) => !(current.get(key) >= value));
    this.restarts = Math.max(0, this.restarts - 0.2) + (hasRestarted ? 1 : 0);
    if (hasRestarted) this.restarted = new Date();
    /** By how much a counter has grown; one that was not there has grown from zero. */
    const growth = ({ key, value }) => (isKnown ? value - (hasRestarted ? 0 : before.get(key) ?? 0) : 0);

    this.setBounds(samples.bucket);
    const rows = [this.all, ...this.rows.values()];
    for (const row of rows) row.begin(slot);

    const { requests, latency, in_progress, oldest } = this.monitor;
    const counted = requests ?? latency;
    const status = counted?.labels.status ?? counted?.labels.status_class;
    this.hasStatus = status !== undefined;
    for (const sample of requests ? samples.requests : samples.count) {
      const grown = growth(sample);
      const isError = sample.labels.get(status)?.startsWith("5");
      for (const row of this.rowsOf(counted, sample.labels)) {
        row.total += sample.value;
        if (!grown) continue;
        row.keep().requests[slot] += grown;
        if (isError) row.keep().errors[slot] += grown;
      }
    }
    const width = this.bounds.length;
    for (const sample of samples.bucket) {
      const grown = growth(sample);
      if (!grown) continue;
      const bucket = this.bounds.indexOf(numberOf(sample.labels.get("le")));
      for (const row of this.rowsOf(latency, sample.labels)) {
        const kept = row.keep();
        kept.buckets ??= new Float64Array(RECENT * width);
        kept.buckets[(this.scrapes % RECENT) * width + bucket] += grown;
      }
    }
    for (const { labels, value } of samples.in_progress) {
      for (const row of this.rowsOf(in_progress, labels)) row.running = (row.running ?? 0) + value;
    }
    for (const { labels, value } of samples.oldest) {
      for (const row of this.rowsOf(oldest, labels)) row.oldest = Math.max(row.oldest ?? 0, value);
    }
    this.recordOthers(samples, growth, slot);

    this.last = current;
    this.scrapes++;
    for (const [key, row] of this.rows) {
      row.update();
      // It was there before the service started again.
      if (row.isSeen || row.sum("requests", SPAN)) continue;
      this.rows.delete(key);
      this.found.clear();
    }
    const { all, lines } = this;
    all.update();
    lines.rate[slot] = isKnown ? (all.kept?.requests[slot] ?? 0) / (time - lastTime) : NaN;
    lines.share[slot] = all.share ?? NaN;
    for (const name of ["p50", "p95", "p99"]) lines[name][slot] = Number.isFinite(all[name]) ? all[name] : NaN;
    lines.running[slot] = all.running ?? NaN;
  },

  recordOthers({ busy, open, accepted, objective_met, objective_missed, objective_ratio }, growth, slot) {
    const kept = (map, key, make) => map.get(key) ?? map.set(key, make()).get(key);
    for (const points of [...this.workers.values()]) points[slot] = 0;
    for (const sample of busy) {
      const points = kept(this.workers, sample.labels.get("worker") ?? "", () => new Float64Array(POINTS));
      points[slot] = growth(sample);
    }
    if (!busy.length) this.workers.clear();
    const sum = (all) => all.reduce((sum, { value }) => sum + value, 0);
    this.open = open.length ? sum(open) : undefined;
    this.lines.open[slot] = this.open ?? NaN;
    const grown = accepted.reduce((sum, sample) => sum + growth(sample), 0);
    this.accepted = this.spans[slot] ? grown / this.spans[slot] : undefined;
    for (const { met, missed } of this.objectives.values()) met[slot] = missed[slot] = 0;
    const objective = (role, sample) => {
      const path = sample.labels.get(this.monitor[role].labels.path) ?? "all routes";
      return kept(this.objectives, path, () => ({ met: new Float64Array(POINTS), missed: new Float64Array(POINTS) }));
    };
    for (const sample of objective_met) objective("objective_met", sample).met[slot] += growth(sample);
    for (const sample of objective_missed) objective("objective_missed", sample).missed[slot] += growth(sample);
    for (const sample of objective_ratio) objective("objective_ratio", sample).ratio = sample.value;
  },

  /** The upper bounds of the buckets, as they are in the scrape. */
  setBounds(buckets) {
    const bounds = [...new Set(buckets.map(({ labels }) => numberOf(labels.get("le"))))].sort((a, b) => a - b);
    if (String(bounds) === String(this.bounds)) return;
    this.bounds = bounds;
    // The kept numbers have other buckets.
    for (const row of [this.all, ...this.rows.values()]) if (row.kept) row.kept.buckets = null;
  },
};

// ---------------------------------------------------------------- numbers as text

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function significant(value) {
  if (value === 0) return "0";
  if (value >= 99.5) return whole.format(value);
  return value >= 9.95 ? value.toFixed(1) : value.toFixed(2);
}

function seconds(value) {
  if (value === Infinity) {
    const highest = store.bounds[store.bounds.length - 2];
    return "> " + seconds(highest);
  }
  if (value === 0) return "0 ms";
  if (value < 0.9995) return Number((value * 1000).toPrecision(value < 0.01 ? 2 : 3)) + " ms";
  return value < 99.5 ? Number(value.toPrecision(3)) + " s" : whole.format(value) + " s";
}

function percent(share) {
  if (share === 0) return "0 %";
  if (share < 0.0005) return "< 0.1 %";
  return (share < 0.0995 ? (share * 100).toFixed(1) : whole.format(share * 100)) + " %";
}

const or = (value, format) => (value === undefined ? "–" : format(value));
const clock = (date) => date.toLocaleTimeString([], { hour12: false });

// ---------------------------------------------------------------- drawing

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Draws lines into `place`: each has a class, and a value for each place of a scrape. All have one scale. */
function plot(place, lines, label, format) {
  let svg = place.querySelector("svg");
  if (!svg) {
    svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 300 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    for (const [name] of lines) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      svg.append(path);
    }
    place.append(svg);
    if (format) place.append(make("span", {}), make("span", {}));
  }
  const now = store.times[(store.scrapes - 1) % POINTS];
  const span = store.shownSeconds();
  const points = [];
  store.eachSince(SPAN, (slot) => points.push(slot));
  points.reverse();
  let most = 0;
  for (const [, values] of lines) for (const slot of points) if (values(slot) > most) most = values(slot);
  lines.forEach(([name, values], index) => {
    const isArea = name.includes("area");
    let d = "", before = null;
    const close = () => {
      if (isArea && before !== null) d += `L${before} 100Z`;
      before = null;
    };
    for (const slot of points) {
      const value = values(slot);
      const x = Number((300 - ((now - store.times[slot]) * 300) / span).toFixed(1));
      // Missing values are gaps, and so is the time without an answer.
      if (Number.isNaN(value) || store.gaps[slot]) close();
      if (Number.isNaN(value)) continue;
      const y = most ? Number((100 - (value / most) * 98).toFixed(1)) : 100;
      if (before === null) d += isArea ? `M${x} 100L${x} ${y}` : `M${x} ${y}`;
      else d += `L${x} ${y}`;
      before = x;
    }
    close();
    svg.children[index].setAttribute("d", d);
  });
  const time = span < 100 ? `${Math.round(span)} s` : `${Math.round(span / 60)} min`;
  const text = `${label} in the last ${time}, at most ${(format ?? significant)(most)}`;
  if (svg.getAttribute("aria-label") !== text) svg.setAttribute("aria-label", text);
  if (!format) return;
  setText(place.children[1], most ? `max ${format(most)}` : "");
  setText(place.children[2], `last ${time}`);
}

/** Fills a tile; `value` is what is in bold. */
function tile(id, value, note) {
  const article = byId(id);
  setText(article.querySelector(".value b"), value);
  setText(article.querySelector(".note"), note);
  return article.querySelector(".plot, ul");
}

function drawTiles() {
  const { all, lines } = store;
  const at = (line) => (slot) => line[slot];
  const total = `${whole.format(all.total)} in total`;
  const requests = tile("requests", or(all.rate, significant), total);
  plot(requests, [["area", at(lines.rate)], ["line", at(lines.rate)]], "Requests per second", significant);

  const failed = store.hasStatus ? `${whole.format(all.recentErrors)} of ${whole.format(all.recent)} in the last minute` : "";
  const errors = tile("errors", or(all.share, percent), failed);
  plot(errors, [["area bad", at(lines.share)], ["line bad", at(lines.share)]], "Share of errors", percent);

  byId("latency").hidden = !store.monitor.latency;
  for (const name of ["p50", "p95", "p99"]) setText(byId(name), or(all[name], seconds));
  const latency = byId("latency");
  const percentiles = [["area", at(lines.p50)], ["first", at(lines.p50)], ["second", at(lines.p95)], ["third", at(lines.p99)]];
  plot(latency.querySelector(".plot"), percentiles, "Latency in seconds", seconds);

  byId("running").hidden = !store.monitor.in_progress;
  const running = tile("running", or(all.running, whole.format), "this page's own request among them");
  plot(running, [["area", at(lines.running)], ["line", at(lines.running)]], "Requests in progress", whole.format);
}

function drawOthers() {
  const known = store.measured(RATE);
  const sum = (points, seconds) => {
    let sum = 0;
    store.eachSince(seconds, (slot) => (sum += points[slot]));
    return sum;
  };
  const workers = [...store.workers].map(([name, points]) => [name, known ? sum(points, RATE) / known : undefined]);
  workers.sort(([a], [b]) => a - b);
  byId("workers").hidden = !workers.length;
  if (workers.length) {
    const busiest = workers.reduce((most, [, share]) => Math.max(most, share ?? 0), 0);
    const mean = workers.reduce((sum, [, share]) => sum + (share ?? 0), 0) / workers.length;
    const list = tile("workers", known ? percent(mean) : "–", `${workers.length} workers, the busiest ${percent(busiest)}`);
    fill(list, workers, () => make("li", {}, make("span", {}), make("i", {}, make("i", {})), make("b", {})), (item, [name, share]) => {
      setText(item.children[0], name);
      item.children[1].firstChild.style.width = `${Math.min(100, (share ?? 0) * 100)}%`;
      setText(item.children[2], or(share, percent));
    });
  }

  byId("connections").hidden = store.open === undefined;
  if (store.open !== undefined) {
    const place = tile("connections", whole.format(store.open), `${or(store.accepted, significant)} accepted per second`);
    const open = (slot) => store.lines.open[slot];
    plot(place, [["area", open], ["line", open]], "Open connections", whole.format);
  }

  byId("oldest").hidden = store.all.oldest === undefined;
  if (store.all.oldest !== undefined) {
    const oldest = [...store.rows.values()].filter((row) => row.oldest > YOUNG).sort((a, b) => b.oldest - a.oldest).slice(0, 5);
    const list = tile("oldest", seconds(store.all.oldest), oldest.length ? "by route" : `none is older than ${seconds(YOUNG)}`);
    fill(list, oldest, listed, (item, row) => {
      setText(item.children[0], [row.method, row.name].filter(Boolean).join(" "));
      setText(item.children[1], seconds(row.oldest));
    });
  }

  const objectives = [...store.objectives].map(([path, { met, missed, ratio }]) => {
    const [good, bad] = [sum(met, WINDOW), sum(missed, WINDOW)];
    return { path, ratio, bad, share: good + bad ? good / (good + bad) : undefined };
  });
  byId("objectives").hidden = !objectives.length;
  if (objectives.length) {
    const shares = objectives.map(({ share }) => share).filter((share) => share !== undefined);
    const list = tile("objectives", shares.length ? percentMet(Math.min(...shares)) : "–", "the lowest, in the last minute");
    objectives.sort((a, b) => b.bad - a.bad);
    fill(list, objectives, listed, (item, { path, ratio, share }) => {
      setText(item.children[0], path);
      setText(item.children[1], or(share, percentMet) + (ratio === undefined ? "" : ` of ${percentChosen(ratio)}`));
      item.className = share < ratio ? "failing" : "";
    });
  }
}

/** Never rounded up to all. */
const percentMet = (share) => (Math.floor(share * 10000) / 100).toFixed(2) + " %";
/** As it was chosen. */
const percentChosen = (ratio) => Number((ratio * 100).toFixed(6)) + " %";
const listed = () => make("li", {}, make("span", {}), make("b", {}));

/** Has `list` show `items`, one in each of its elements. */
function fill(list, items, create, show) {
  while (list.children.length > items.length) list.lastChild.remove();
  while (list.children.length < items.length) list.append(create());
  items.forEach((item, index) => show(list.children[index], item));
}

// ---------------------------------------------------------------- the table

const COLUMNS = [
  { title: "Route", value: (row) => `${row.name}\u0000${row.method ?? ""}` },
  { title: "Requests", value: (row) => row.total, format: whole.format },
  { title: "Per second", value: (row) => row.rate, format: significant },
  { title: "Errors", value: (row) => row.share, format: percent },
  { title: "p50", value: (row) => row.p50, format: seconds, role: "latency" },
  { title: "p95", value: (row) => row.p95, format: seconds, role: "latency" },
  { title: "p99", value: (row) => row.p99, format: seconds, role: "latency" },
  { title: "In progress", value: (row) => row.running, format: whole.format, role: "in_progress" },
  { title: "Oldest", value: (row) => row.oldest || undefined, format: seconds, role: "oldest" },
];

const table = {
  columns: [],
  sortedBy: COLUMNS[2],
  isDescending: true,
  filter: "",
  /** The rows of the table as they stand there. */
  shown: [],
  elements: new Map(),
  observer: new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const element = target.parentElement.parentElement;
      element.isVisible = isIntersecting;
      if (isIntersecting) table.plotRow(element);
    }
  }, { rootMargin: "100px" }),

  clear() {
    this.observer.disconnect();
    this.elements.clear();
    this.shown = [];
    document.querySelector("tbody").replaceChildren();
    this.columns = COLUMNS.filter(({ role }) => !role || (store.monitor[role] && store.isByRow(store.monitor[role])));
    if (!this.columns.includes(this.sortedBy)) this.sortedBy = COLUMNS[2];
    const headers = this.columns.map((column) => {
      const button = make("button", { type: "button", textContent: column.title });
      button.addEventListener("click", () => this.sortBy(column));
      const header = make("th", { scope: "col" }, button);
      header.setAttribute("role", "columnheader");
      return header;
    });
    const last = make("th", { scope: "col" });
    last.setAttribute("role", "columnheader");
    last.setAttribute("aria-label", "Requests per second in the last five minutes");
    document.querySelector("thead tr").replaceChildren(...headers, last);
    this.markSorted();
  },

  sortBy(column) {
    // Names begin at the first letter, numbers at the highest.
    this.isDescending = column === this.sortedBy ? !this.isDescending : Boolean(column.format);
    this.sortedBy = column;
    this.markSorted();
    this.draw();
  },

  markSorted() {
    this.columns.forEach((column, index) => {
      const header = document.querySelector("thead tr").children[index];
      if (column !== this.sortedBy) header.removeAttribute("aria-sort");
      else header.setAttribute("aria-sort", this.isDescending ? "descending" : "ascending");
    });
  },

  draw() {
    const filter = this.filter.toLowerCase();
    const found = [...store.rows.values()].filter((row) => `${row.method ?? ""} ${row.name}`.toLowerCase().includes(filter));
    const { value } = this.sortedBy;
    const sign = this.isDescending ? -1 : 1;
    const name = COLUMNS[0].value;
    found.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x !== y && (x === undefined || y === undefined)) return x === undefined ? 1 : -1;
      if (x !== y) return x < y ? -sign : sign;
      return name(a) < name(b) ? -1 : 1;
    });
    const rows = found.slice(0, MOST_ROWS);
    const body = document.querySelector("tbody");
    if (!rows.length) {
      const text = store.rows.size ? "No route contains this." : "No request has been measured yet.";
      const cell = make("td", { textContent: text, colSpan: this.columns.length + 1 });
      body.replaceChildren(make("tr", { className: "empty" }, cell));
    } else if (!this.shown.length || rows.length !== this.shown.length || rows.some((row, index) => row !== this.shown[index])) {
      body.replaceChildren(...rows.map((row) => this.elementOf(row)));
    }
    this.shown = rows;
    for (const row of rows) this.drawRow(this.elementOf(row), row);
    for (const [row, element] of this.elements) {
      if (store.rows.get(element.key) === row) continue;
      this.observer.unobserve(element.place);
      this.elements.delete(row);
    }
    const isCut = rows.length < found.length;
    setText(byId("shown"), `${whole.format(rows.length)}${isCut ? " of " + whole.format(found.length) : ""}`);
  },

  elementOf(row) {
    let element = this.elements.get(row);
    if (element) return element;
    const route = make("td", { title: row.name });
    if (row.method !== undefined) route.append(make("span", { className: "method", textContent: row.method }), " ");
    route.append(row.name);
    const cells = this.columns.slice(1).map(({ title }) => {
      const cell = make("td", {});
      cell.dataset.title = title;
      return cell;
    });
    const place = make("div", {});
    element = make("tr", {}, route, ...cells, make("td", { className: "plotted" }, place));
    element.setAttribute("role", "row");
    for (const cell of element.children) cell.setAttribute("role", "cell");
    Object.assign(element, { place, row, key: JSON.stringify([row.method, row.path]), isVisible: false });
    this.elements.set(row, element);
    this.observer.observe(place);
    return element;
  },

  drawRow(element, row) {
    this.columns.forEach(({ value, format }, index) => {
      if (!format) return;
      const cell = element.children[index];
      setText(cell, or(value(row), format));
      const isNone = value(row) === undefined;
      const isFailing = format === percent && row.share > 0;
      const name = isNone ? "none" : isFailing ? "failing" : "";
      if (cell.className !== name) cell.className = name;
    });
    if (element.isVisible) this.plotRow(element);
  },

  plotRow({ place, row }) {
    const rate = (what) => (slot) => (store.spans[slot] ? (row.kept ? row.kept[what][slot] : 0) / store.spans[slot] : NaN);
    const lines = [["area", rate("requests")], ["line", rate("requests")], ["area bad", rate("errors")]];
    plot(place, lines, "Requests per second");
  },
};

// ---------------------------------------------------------------- the loop

let settingsText = byId("settings").textContent;
let settings = JSON.parse(settingsText);
let chosen = 0;
let token = "";
let wait = INTERVAL;
let timer = null;
let isPaused = false;
let isReading = false;
let lastAnswer = null;
let lastLook = -Infinity;

function setState(text, name) {
  setText(byId("state"), text);
  byId("state").className = name;
  // Numbers that are not current are pale.
  document.querySelector("main").className = name;
}

function monitors() {
  return settings.monitors.length ? settings.monitors : KNOWN;
}

/** Begins anew, with the names that the server has now. */
function begin() {
  const all = monitors();
  chosen = Math.min(chosen, all.length - 1);
  const title = (monitor) => (monitor.requests ?? monitor.latency ?? Object.values(monitor)[0])?.name ?? "none";
  byId("monitor").replaceChildren(...all.map((monitor, index) =>
    make("option", { value: index, textContent: title(monitor), selected: index === chosen })));
  byId("monitors").hidden = all.length < 2;
  store.clear(all[chosen]);
  table.clear();
}

async function get(address, accept) {
  const headers = { Accept: accept };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(address, { headers, cache: "no-store", signal: AbortSignal.timeout(15000) });
  if (!response.ok) throw Object.assign(new Error(`${response.status} ${response.statusText}`.trim()), { status: response.status });
  return response;
}

/** Reads this page again: since it was loaded, the service may have started with other names. */
async function readSettings() {
  lastLook = performance.now();
  const page = await (await get(location.href, "text/html")).text();
  const [, text] = /<script type="application\/json" id="settings">(.*?)<\/script>/s.exec(page) ?? [];
  if (!text || text === settingsText) return false;
  settingsText = text;
  settings = JSON.parse(text);
  return true;
}

async function read() {
  const response = await get(settings.metrics, ACCEPT);
  const type = response.headers.get("Content-Type") ?? "";
  if (!/^(application\/openmetrics-text|text\/plain)/.test(type)) throw new Error(`metrics in the format ${type || "of nobody knows"}`);
  const text = await response.text();
  const scrape = parse(text, store.monitor);
  if (type.startsWith("application/openmetrics-text") && !scrape.isComplete) throw new Error("metrics that break off");
  return scrape;
}

/** Whether a monitor has any of its families in this scrape. */
const isIn = (monitor, { families }) => Object.values(monitor).some(({ name }) => families.has(name));

async function look() {
  const began = performance.now();
  let scrape = await read();
  if (!isIn(store.monitor, scrape)) {
    const isDue = performance.now() - lastLook > 10000;
    if (isDue && (await readSettings())) {
      begin();
      scrape = await read();
    }
  }
  const ended = performance.now();
  // Another monitor may have been chosen meanwhile.
  if (scrape.monitor !== store.monitor) return;
  store.record(scrape, ended / 1000);
  // A scrape that takes its time is not asked for as often.
  wait = Math.max(INTERVAL, (5 * (ended - began)) / 1000);
}

async function tick() {
  clearTimeout(timer);
  if (isReading) return;
  isReading = true;
  const due = performance.now() + INTERVAL * 1000;
  try {
    await look();
    lastAnswer = new Date();
    byId("access").hidden = true;
    if (store.restarts > 3) setState("Counters fall again and again: do several processes answer at this address?", "failed");
    else setState(store.restarted ? `Live; the service restarted at ${clock(store.restarted)}` : "Live", "");
    setText(byId("updated"), clock(lastAnswer));
    draw();
  } catch (error) {
    store.hasFailed = true;
    const since = lastAnswer ? ` since ${clock(lastAnswer)}` : "";
    const reason = error.name === "TimeoutError" ? "no answer within 15 seconds" : error.status || error.name !== "TypeError" ? error.message : "the service does not answer";
    setState(`No metrics${since}: ${reason}`, "failed");
    if (error.status === 401 || error.status === 403) byId("access").hidden = false;
  }
  isReading = false;
  if (isPaused) return setState("Paused", "paused");
  const rest = wait > INTERVAL ? wait * 1000 : Math.max(0, due - performance.now());
  timer = setTimeout(tick, rest);
}

function draw() {
  if (document.hidden || !store.scrapes) return;
  drawTiles();
  drawOthers();
  table.draw();
}

byId("host").textContent = location.host;
document.title = `Live: ${location.host}`;
byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  setText(byId("pause"), isPaused ? "Go on" : "Pause");
  if (!isPaused) return tick();
  clearTimeout(timer);
  setState("Paused", "paused");
});
byId("filter").addEventListener("input", ({ target }) => {
  table.filter = target.value.trim();
  table.draw();
});
byId("monitor").addEventListener("change", ({ target }) => {
  chosen = Number(target.value);
  begin();
  tick();
});
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  tick();
});
document.addEventListener("visibilitychange", draw);
begin();
tick();
