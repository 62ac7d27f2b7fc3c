// The grid of tiles. Streamlit calls the default export on every rerun with new data and the same parent element, so it
// brings what is there up to date instead of building anew: pictures neither reload nor flicker, focus stays.

const TURNING_PATIENCE = 8000; // ms after which a page that does not come no longer holds up the keys

const KEYS = [
  ["In the grid", [
    ["\u2190 \u2192 \u2191 \u2193", "move; past the last or first tile: turn the page"],
    ["shift + arrow", "select a range"],
    ["Home End", "first, last tile"],
    ["space", "select or not"],
    ["shift + space", "select up to here"],
    ["Ctrl + A", "select the page"],
    ["Esc", "clear the selection"],
    ["Enter", "open the large view"],
    ["s", "open a stack"],
    ["PgDn PgUp, n p", "next, previous page"],
  ]],
  ["In the large view", [
    ["\u2190 \u2192", "previous, next sample"],
    ["z", "fit, 100 %, up to 800 %"],
    ["+ \u2212, wheel", "larger, smaller"],
    ["shift + arrow, drag", "move the picture"],
    ["Esc", "close"],
  ]],
];

// The letter of a key as its keyboard is laid out: on AZERTY "z" is where others have "w". Keyboards that write no Latin
// letters have those of the places.
function letterOf(event) {
  if (/^[a-z]$/i.test(event.key)) return event.key.toLowerCase();
  return /^\p{L}$/u.test(event.key) ? /^Key([A-Z])$/.exec(event.code)?.[1].toLowerCase() : undefined;
}
// A key that is part of a character on its way (Chinese, Japanese) is nobody else's.
const isComposing = (event) => event.isComposing || event.keyCode === 229;
const isUndo = (event) => letterOf(event) === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
const clearTurning = (state) => {
  clearTimeout(state.turning?.timer);
  state.turning = null;
  state.grid.removeAttribute("aria-busy");
};

function say(state, words) {
  const spoken = state.root.querySelector(".spoken");
  spoken.textContent = "";
  spoken.textContent = words;
}

// A digit is what the key writes, or its place in the row of digits where it writes a sign: "&" on AZERTY is the key of 1.
// With shift it is what it writes: "!" is no 1.
function digitOf(event) {
  if (/^[0-9]$/.test(event.key)) return event.key;
  if (event.shiftKey || event.getModifierState("AltGraph")) return undefined;
  // Dead keys ("^", "~") have no character yet.
  return event.key.length === 1 || event.key === "Dead" ? /^Digit([0-9])$/.exec(event.code)?.[1] : undefined;
}

// Undefined where the key is none of a label's; null takes the label away.
function labelOfKey(state, event) {
  const digit = digitOf(event);
  if (digit === undefined) return undefined;
  return digit === "0" ? null : state.labels[Number(digit) - 1]?.id;
}

function giveLabel(state, ids, label) {
  if (!ids.length) return;
  const n = addGesture(state, "label", { ids, label });
  for (const id of ids) {
    state.log.given.set(id, { label, n });
    const tile = state.tiles.find((one) => one.id === id);
    if (tile) fillTile(state.nodes.get(id), withGiven(tile, state));
  }
  state.large.fill();
  showUndo(state);
  const name = state.labels.find((one) => one.id === label)?.name ?? "no label";
  say(state, ids.length === 1 ? `labelled ${name}` : `${ids.length} labelled ${name}`);
}

// Labels given just now count too; how much there is to undo after that only the server knows.
const canUndo = (state) => state.undoable > 0 || state.log.entries.some((entry) => entry.kind === "label");

function undo(state) {
  if (!canUndo(state)) {
    say(state, "nothing to undo");
    return;
  }
  addGesture(state, "undo", {});
  say(state, "last change of labels undone");
}

function showUndo(state) {
  state.root.querySelector(".undo").disabled = !canUndo(state);
}

function turn(state, step) {
  const n = addGesture(state, "page", { step });
  clearTurning(state);
  // Until the new page is there nothing can be labelled: one would label what one does not see yet.
  state.grid.setAttribute("aria-busy", "true");
  state.turning = { n, timer: setTimeout(() => clearTurning(state), TURNING_PATIENCE) };
  say(state, step > 0 ? "next page" : "previous page");
}

function showKeys(state) {
  const dialog = state.root.querySelector("dialog.keys");
  if (dialog.open) {
    dialog.close();
    return;
  }
  const labels = [
    ...state.labels.slice(0, 9).map((label, i) => [String(i + 1), label.name]), ["0", "no label"],
    ["u, Ctrl + Z", "undo the last change of labels"], ["?", "these keys"],
  ];
  const parts = [...KEYS, ["Labels, in both", labels]];
  dialog.querySelector(".columns").replaceChildren(...parts.map(([title, lines]) => {
    const part = element("section");
    const list = element("dl");
    for (const [keys, what] of lines) {
      const term = element("dt");
      term.append(element("kbd", "", keys));
      list.append(term, element("dd", "", what));
    }
    part.append(element("h3", "", title), list);
    return part;
  }));
  dialog.showModal();
}

const nodeAt = (state, index) => state.row.children[Math.max(0, Math.min(index, state.row.children.length - 1))];

function focusOn(state, node) {
  if (!node) return;
  state.focus = node.dataset.id;
  showSelection(state);
  node.focus();
}

function showSelection(state) {
  if (!state.order.includes(state.focus)) state.focus = state.order[0] ?? null;
  for (const node of state.row.children) {
    node.setAttribute("aria-selected", String(state.everything > 0 || state.selected.has(node.dataset.id)));
    node.tabIndex = node.dataset.id === state.focus ? 0 : -1;
  }
  state.root.querySelector(".clear").disabled = !state.everything && state.selected.size === 0;
  state.root.querySelector(".select-page").disabled = !state.everything && state.selected.size === state.order.length;
}

function start(root, data) {
  const grid = root.querySelector(".grid");
  const state = {
    root, grid, row: grid.querySelector(".row"), log: logOf(data.key, data.session), send: null,
    tiles: [], nodes: new Map(), order: [], labels: [], undoable: 0, everything: 0,
    revision: null, selected: new Set(), focus: null, opened: data.opened, turning: null,
    anchor: null, base: null, extending: false,
    timer: null, due: null, urgent: false, reported: 0, selectionChanged: false,
    retry: null, patience: RETRY_FIRST,
  };
  state.large = startLarge(state);

  function changed() {
    const before = state.everything;
    if (before) {
      // Told at once, in the log: until the server knows, a label key would still be for all.
      state.everything = 0;
      addGesture(state, "leave-all", {});
    }
    showSelection(state);
    say(state, `${before ? `no longer all ${before} that match: ` : ""}${state.selected.size} selected`);
    reportSelection(state);
  }
  function toggle(id) {
    if (!state.selected.delete(id)) state.selected.add(id);
    state.anchor = id;
    state.extending = false;
    changed();
  }
  function selectTo(id) {
    const from = state.order.indexOf(state.anchor ?? id);
    const until = state.order.indexOf(id);
    for (const one of state.order.slice(Math.min(from, until), Math.max(from, until) + 1)) state.selected.add(one);
    state.extending = false;
    changed();
  }
  // Shift with arrows: going back takes from the range again what it was extended by.
  function extend(from, to) {
    if (!state.extending) {
      state.anchor = from;
      state.base = new Set(state.selected);
      state.extending = true;
    }
    state.selected = new Set(state.base);
    selectTo(to);
    state.extending = true;
  }
  function selectPage() {
    state.selected = new Set(state.order);
    state.extending = false;
    changed();
  }
  function clear() {
    state.selected.clear();
    state.anchor = null;
    state.extending = false;
    changed();
  }
  function giveByKey(node, label) {
    if (state.turning) {
      say(state, "the next page is on its way");
      return;
    }
    if (state.everything) {
      // More than one sees: the page names how many and asks.
      addGesture(state, "label-all", { label });
      say(state, `asking about all ${state.everything} that match`);
    } else if (state.selected.size) {
      const ids = state.order.filter((id) => state.selected.has(id));
      // They have what they were selected for: the next key is for the tile in focus again.
      state.selected.clear();
      state.extending = false;
      showSelection(state);
      giveLabel(state, ids, label);
    } else {
      giveLabel(state, [node.dataset.id], label);
      focusOn(state, node.nextElementSibling);
    }
  }
  function openStack(id) {
    if (!(state.tiles.find((tile) => tile.id === id)?.stack > 1)) return;
    addGesture(state, "stack", { ids: [id] });
    say(state, "opening the stack");
  }

  grid.addEventListener("click", (event) => {
    const node = event.target.closest(".tile");
    if (!node) return;
    const id = node.dataset.id;
    focusOn(state, node);
    if (event.target.closest(".open")) state.large.open(id);
    else if (event.target.closest(".stacked")) openStack(id);
    else if (event.shiftKey) selectTo(id);
    else toggle(id);
  });
  grid.addEventListener("dblclick", (event) => {
    const node = event.target.closest(".tile");
    // The two clicks before it have selected the tile and let go of it again.
    if (node && !event.shiftKey && !event.target.closest("button")) state.large.open(node.dataset.id);
  });
  grid.addEventListener("focusin", (event) => {
    const node = event.target.closest(".tile");
    if (node && node.dataset.id !== state.focus) {
      state.focus = node.dataset.id;
      showSelection(state);
    }
  });

  function move(node, event) {
    const nodes = state.row.children;
    const here = Array.prototype.indexOf.call(nodes, node);
    const columns = getComputedStyle(state.row).gridTemplateColumns.split(" ").length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    const ends = { Home: -here, End: nodes.length - 1 - here };
    let target = here + (steps[event.key] ?? ends[event.key]);
    // Below is a row that ends before this column.
    if (event.key === "ArrowDown" && target >= nodes.length && Math.floor(here / columns) < Math.floor((nodes.length - 1) / columns)) {
      target = nodes.length - 1;
    }
    const sideways = event.key === "ArrowRight" || event.key === "ArrowLeft";
    if (target >= 0 && target < nodes.length) {
      focusOn(state, nodes[target]);
      if (event.shiftKey) extend(node.dataset.id, nodes[target].dataset.id);
      else state.extending = false;
    } else if (sideways && !event.shiftKey && !event.repeat && !state.turning) {
      turn(state, steps[event.key]);
    }
  }
  // True where the key was one of the grid's.
  function pressed(node, event) {
    const { key } = event;
    const letter = event.shiftKey ? undefined : letterOf(event);
    if (event.altKey) return false;
    if (event.ctrlKey || event.metaKey) {
      if (letterOf(event) !== "a" || event.shiftKey) return false;
      selectPage();
    } else if (/^Arrow|^Home$|^End$/.test(key)) move(node, event);
    else if (key === " ") {
      if (event.shiftKey) selectTo(node.dataset.id);
      else toggle(node.dataset.id);
    } else if (key === "Escape" && (state.everything || state.selected.size)) clear();
    else if (key === "Enter") state.large.open(node.dataset.id);
    else if (letter === "s") openStack(node.dataset.id);
    else if (labelOfKey(state, event) !== undefined) giveByKey(node, labelOfKey(state, event));
    else return false;
    return true;
  }
  function pressedAnywhere(event) {
    const { key } = event;
    const letter = event.shiftKey ? undefined : letterOf(event);
    if (event.altKey) return false;
    if (event.ctrlKey || event.metaKey) {
      if (!isUndo(event)) return false;
      undo(state);
    } else if (key === "PageDown" || letter === "n") turn(state, 1);
    else if (key === "PageUp" || letter === "p") turn(state, -1);
    else if (letter === "u") undo(state);
    else if (key === "?") showKeys(state);
    else return false;
    return true;
  }
  root.addEventListener("keydown", (event) => {
    if (isComposing(event) || event.target.closest("dialog, input, textarea, select, [contenteditable]")) return;
    // The buttons on a tile keep the keys that press a button.
    const own = event.target.closest("button") && (event.key === "Enter" || event.key === " ");
    const node = event.target.closest(".tile");
    if (own || !((node && pressed(node, event)) || pressedAnywhere(event))) return;
    event.preventDefault();
    event.stopPropagation();
  });

  const keys = root.querySelector("dialog.keys");
  keys.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "?") keys.close();
  });
  keys.querySelector(".close").onclick = () => keys.close();
  keys.addEventListener("click", (event) => {
    if (event.target === keys) keys.close(); // beside it
  });
  root.querySelector(".select-page").onclick = selectPage;
  root.querySelector(".clear").onclick = clear;
  root.querySelector(".undo").onclick = () => undo(state);
  root.querySelector(".show-keys").onclick = () => showKeys(state);
  return state;
}

// Where the focus goes whose tile has left the page: to the next one that stayed.
function nextStaying(state, id, before) {
  const staying = new Set(state.order);
  const after = before.slice(before.indexOf(id)).find((one) => staying.has(one));
  return state.nodes.get(after) ?? nodeAt(state, before.indexOf(id));
}

function showTiles(state, data) {
  const { row } = state;
  const before = state.order;
  const known = state.nodes;
  const turned = state.turning && !state.log.entries.some((entry) => entry.n === state.turning.n);
  const focused = row.getRootNode().activeElement;
  const inside = row.contains(focused);

  state.tiles = data.tiles;
  state.order = data.tiles.map((tile) => tile.id);
  state.nodes = new Map(data.tiles.map((tile) => [tile.id, known.get(tile.id) ?? buildTile(tile)]));
  for (const tile of data.tiles) fillTile(state.nodes.get(tile.id), withGiven(tile, state));
  const nodes = [...state.nodes.values()];
  const unchanged = nodes.length === row.children.length && nodes.every((node, i) => node === row.children[i]);
  if (!unchanged) row.replaceChildren(...nodes);
  state.grid.hidden = nodes.length === 0;

  if (turned) {
    clearTurning(state);
    if (unchanged) say(state, "there is no further page");
  }
  // Moving a node takes the focus from it: give it back, or the next key would go nowhere.
  if (inside && !unchanged) {
    const id = focused.closest(".tile").dataset.id;
    if (!nodes.length) state.root.querySelector(".undo").focus();
    else if (turned) focusOn(state, row.firstElementChild);
    else if (!state.nodes.has(id)) focusOn(state, nextStaying(state, id, before));
    else if (row.getRootNode().activeElement !== focused) focused.focus({ preventScroll: true });
  }
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".gallery");
  root.state ??= start(root, data);
  const state = root.state;
  state.send = setStateValue;
  state.labels = data.labels;
  state.undoable = data.undoable;
  const wasEverything = state.everything;
  state.grid.dataset.size = data.size;
  for (const [role, colour] of Object.entries(data.paper)) root.style.setProperty(`--${role}`, colour);
  const hint = data.labels.slice(0, 9).map((label, i) => `${i + 1} ${label.name}`);
  state.root.querySelector(".hint").textContent = [...hint, "0 no label"].join(" \u00b7 ");

  acknowledge(state, data.acknowledged);
  // Data on their way may not know yet that it was left.
  state.everything = state.log.entries.some((entry) => entry.kind === "leave-all") ? 0 : data.everything;
  if (state.everything && !wasEverything) say(state, `all ${state.everything} that match are selected`);
  showUndo(state);
  showTiles(state, data);

  // The browser owns the selection between two commands of the page: an answer to an earlier click must not undo a
  // later one. A new revision is such a command.
  if (data.revision !== state.revision) {
    state.selectionChanged = false;
    state.revision = data.revision;
    state.selected = new Set(data.selected);
    state.anchor = null;
    state.extending = false;
  }
  for (const id of state.selected) if (!state.nodes.has(id)) state.selected.delete(id);
  if (!state.nodes.has(state.anchor)) {
    state.anchor = null;
    state.extending = false;
  }
  showSelection(state);
  if (data.large) state.large.data = data.large;
  state.large.show();

  // A session that knows nothing of this page yet (the server was started again) hears all that is not acknowledged.
  const stranger = state.log.session !== data.session;
  state.log.session = data.session;
  if (stranger || (state.reported === 0 && state.log.entries.length)) reportGesture(state);
  else if (state.selectionChanged && state.due === null) reportSelection(state);
  return () => {
    // The log stays, for when the gallery is shown again.
    clearTimeout(state.timer);
    clearTimeout(state.retry);
    clearTurning(state);
  };
}
