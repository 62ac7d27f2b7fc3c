// What the server has yet to hear of. Gestures are numbered and stay in a log until the server's data acknowledge them:
// Streamlit keeps only the last state of a burst, so every report carries the whole log.

const GESTURE_PAUSE = 200; // ms between two reports of a burst of keys; the first goes out at once
// A report made while the connection is broken is dropped by Streamlit without a word. Each try waits twice as long as the
// one before: it also stops the run that may be about to acknowledge.
const RETRY_FIRST = 4000; // ms
const RETRY_LAST = 64000; // ms
const SELECTION_PAUSE = 150; // ms: a burst of clicks becomes one rerun

// Beside the document, not in it: what Streamlit takes out of the page and puts back has not lost its log.
function logOf(key, session) {
  const logs = (globalThis.detectorGalleryLogs ??= new Map());
  let log = logs.get(key);
  if (!log) {
    log = { load: crypto.getRandomValues(new Uint32Array(2)).join("-"), entries: [], last: 0, number: 0, session };
    log.given = new Map(); // sample id -> { label, n }: shown until the data know of gesture n
    logs.set(key, log);
  }
  return log;
}

function acknowledge(state, acknowledged) {
  const { log } = state;
  if (!acknowledged || acknowledged.load !== log.load) return;
  log.entries = log.entries.filter((entry) => entry.n > acknowledged.number);
  for (const [id, given] of log.given) if (given.n <= acknowledged.number) log.given.delete(id);
  if (log.entries.length) return;
  clearTimeout(state.retry);
  state.patience = RETRY_FIRST;
}

function addGesture(state, kind, more) {
  const entry = { n: ++state.log.last, kind, ...more };
  state.log.entries.push(entry);
  reportGesture(state);
  return entry.n;
}

function reportGesture(state) {
  const due = Math.max(Date.now(), state.reported + GESTURE_PAUSE);
  if (state.due === null || due < state.due) reportAt(state, due);
}

function reportSelection(state) {
  state.selectionChanged = true;
  // A gesture that waits takes the selection with it.
  if (state.due === null || !state.urgent) reportAt(state, Date.now() + SELECTION_PAUSE, false);
}

function reportAt(state, due, urgent = true) {
  clearTimeout(state.timer);
  state.due = due;
  state.urgent = urgent;
  if (due <= Date.now()) report(state);
  else state.timer = setTimeout(() => report(state), due - Date.now());
}

function report(state) {
  clearTimeout(state.timer);
  state.due = null;
  state.urgent = false;
  state.reported = Date.now();
  state.selectionChanged = false;
  state.send("report", {
    session: state.log.session,
    load: state.log.load,
    number: ++state.log.number,
    revision: state.revision,
    selected: state.order.filter((id) => state.selected.has(id)),
    opened: state.opened,
    log: state.log.entries,
  });
  clearTimeout(state.retry);
  if (!state.log.entries.length) return;
  state.retry = setTimeout(() => {
    state.patience = Math.min(2 * state.patience, RETRY_LAST);
    report(state);
  }, state.patience);
}
