// The large view of one sample. Which one is open belongs to the browser; what is known of it comes with the next run.
// Until then the tile's own picture and words stand in.

const PAN = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

function startLarge(state) {
  const dialog = state.root.querySelector("dialog.large");
  const find = (what) => dialog.querySelector(what);
  const stage = find(".stage");
  const image = stage.querySelector("img");
  const view = { dialog, data: null, alike: null, place: 0, drawn: null, full: null };
  const zoom = startZoom(stage, (fits, level) => {
    find(".fit").textContent = `${fits ? "fit, " : ""}${Math.round(level * 100)} %`;
    find(".fit").setAttribute("aria-label", `zoom: ${find(".fit").textContent}; fit to the window`);
  });

  // One of the most alike may be on no page at hand: until the server tells of it, what was shown of it stands in.
  const tileOpen = () => state.tiles.find((tile) => tile.id === state.opened)
    ?? (view.alike?.id === state.opened ? view.alike : undefined);

  view.open = (id) => {
    if (id === state.opened) return;
    state.opened = id;
    view.show();
    reportGesture(state);
  };
  // Once for a sample: bringing it up to date must not reset what one has zoomed in on.
  view.show = () => {
    if (state.opened === null) return;
    if (!dialog.open) dialog.showModal();
    view.fill();
  };
  view.step = (by) => {
    // A sample that was labelled may have left the filter: its neighbours have closed up.
    const here = state.order.indexOf(state.opened);
    const target = here >= 0 ? here + by : by > 0 ? view.place : view.place - 1;
    if (target >= 0 && target < state.order.length) view.open(state.order[target]);
    else say(state, by > 0 ? "the last of this page" : "the first of this page");
  };

  view.fill = () => {
    if (state.opened === null) return;
    const tile = tileOpen();
    const large = view.data?.id === state.opened ? view.data : null;
    const place = state.order.indexOf(state.opened);
    if (place >= 0) view.place = place;
    const known = withGiven({ prediction: null, differs: false, ...tile, ...large }, state);
    if (!tile && !large && known.title === undefined) return; // nothing is known of it any more: leave what is shown
    const anew = view.drawn !== state.opened;
    view.drawn = state.opened;
    find("h2").textContent = known.title;
    find("h2").title = known.title;
    find(".place").textContent = place >= 0 ? `${place + 1} of ${state.order.length} on this page` : "not on this page";
    find(".previous").disabled = place >= 0 ? place === 0 : view.place === 0;
    find(".next").disabled = place >= 0 ? place === state.order.length - 1 : view.place >= state.order.length;
    fillLabel(find(".word"), { ...known, label: known.label ?? null });
    find(".badge").hidden = !known.differs;
    fillGives(known.label ?? null);
    find(".part-says .says").textContent = known.says ?? "";
    dialog.classList.toggle("waiting", !large);
    find(".loading").hidden = Boolean(large);
    drawPicture(tile, large, known, anew);
    if (large) fillSheet(large);
    if (anew) find(".sheet").scrollTop = 0;
  };

  function drawPicture(tile, large, known, anew) {
    const full = large?.image_url ?? null;
    if (anew) {
      view.full = null;
      find(".trouble").hidden = true;
      image.hidden = false;
      image.removeAttribute("src");
      image.onload = () => {
        if (!view.full) zoom.size(image.naturalWidth, image.naturalHeight, false);
      };
      if (tile) image.src = tile.thumbnail_url;
      const thumb = state.nodes.get(state.opened)?.querySelector("img");
      zoom.size(large?.width ?? thumb?.naturalWidth ?? 0, large?.height ?? thumb?.naturalHeight ?? 0, true);
    }
    image.alt = known.title;
    if (!full || view.full === full) return;
    view.full = full;
    if (large.width && large.height) zoom.size(large.width, large.height, !anew);
    const loading = new Image();
    loading.onload = () => {
      if (view.full !== full) return;
      image.src = full;
      const { naturalWidth: width, naturalHeight: height } = loading;
      if (!large.width || !large.height) zoom.size(width, height, false);
      // A photograph may lie on its side in the file.
      else if ((width - height) * (large.width - large.height) < 0) zoom.size(large.height, large.width, false);
    };
    loading.onerror = () => {
      if (view.full !== full) return;
      find(".trouble").hidden = false;
      image.hidden = true;
    };
    loading.src = full;
  }

  function fillGives(label) {
    const choices = [...state.labels.map((one, i) => [i < 9 ? String(i + 1) : "", one.name, one.id]), ["0", "no label", null]];
    const drawn = choices.map((choice) => choice.join("\n")).join("\n\n");
    const gives = find(".gives");
    if (gives.drawn !== drawn) {
      gives.drawn = drawn;
      gives.replaceChildren(...choices.map(([key, name, id]) => {
        const give = button("give");
        if (key) give.append(element("kbd", "", key), " ");
        give.append(name);
        give.onclick = () => giveLabel(state, [state.opened], id);
        return give;
      }));
    }
    choices.forEach(([, name, id], i) => {
      gives.children[i].setAttribute("aria-pressed", String(id === null ? label === null : name === label));
    });
  }

  function fillSheet(large) {
    const drawn = JSON.stringify(large);
    if (view.sheet === drawn) return;
    view.sheet = drawn;
    find(".confidences").replaceChildren(...large.confidences.map((one) => {
      const line = element("div", "confidence");
      const bar = element("div", "bar");
      const filled = element("div", "filled");
      filled.style.width = `${100 * one.fraction}%`;
      filled.style.background = one.colour;
      bar.append(filled);
      line.append(element("span", "name", one.name), element("span", "share", one.words), bar);
      return line;
    }));
    find(".facts").replaceChildren(
      ...large.facts.flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]),
    );
    find("ul.history").replaceChildren(...large.history.map((line) => element("li", "", line)));
    find("ul.near").replaceChildren(...large.near.map((one) => {
      const item = element("li");
      const open = button("alike");
      open.onclick = () => {
        view.alike = one;
        view.open(one.id);
        // The button is gone with the next answer, and the keys with the focus on it.
        find("h2").focus();
      };
      const picture = document.createElement("img");
      picture.src = one.thumbnail_url;
      picture.alt = one.title;
      picture.title = one.title;
      const label = element("span", "label");
      fillLabel(label, one);
      open.append(picture, label, element("span", "similarity", one.similarity));
      item.append(open);
      return item;
    }));
    for (const [part, lines] of [["facts", large.facts], ["history", large.history], ["near", large.near]]) {
      find(`.part-${part}`).hidden = lines.length === 0;
    }
  }

  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (isComposing(event)) return;
    const letter = event.shiftKey ? undefined : letterOf(event);
    if (event.ctrlKey || event.metaKey || event.altKey) {
      if (isUndo(event)) undo(state);
      else return;
    // Before the signs: "-" is the key of 6 on some keyboards, and zooms where there is no sixth label.
    } else if (labelOfKey(state, event) !== undefined) giveLabel(state, [state.opened], labelOfKey(state, event));
    else if (event.shiftKey && event.key in PAN) zoom.push(...PAN[event.key]);
    else if (event.key === "ArrowRight") view.step(1);
    else if (event.key === "ArrowLeft") view.step(-1);
    else if (letter === "z") zoom.cycle();
    else if (event.key === "+" || event.key === "=") zoom.step(1);
    else if (event.key === "-") zoom.step(-1);
    else if (letter === "u") undo(state);
    else if (event.key === "?") showKeys(state);
    else return;
    event.preventDefault();
  });
  // Not left to the event "close", which comes later: data that arrive in between would open it again.
  view.close = () => {
    const id = state.opened;
    state.opened = view.drawn = view.full = view.sheet = null;
    dialog.close();
    image.removeAttribute("src");
    focusOn(state, state.nodes.get(id) ?? nodeAt(state, view.place));
    reportGesture(state);
  };
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    view.close();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) view.close(); // beside it
  });
  find(".previous").onclick = () => view.step(-1);
  find(".next").onclick = () => view.step(1);
  find(".in").onclick = () => zoom.step(1);
  find(".out").onclick = () => zoom.step(-1);
  find(".fit").onclick = () => zoom.fit();
  find(".close").onclick = view.close;
  return view;
}
