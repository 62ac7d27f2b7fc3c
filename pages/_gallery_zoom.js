// The picture in the large view: fit to the window, or one pixel of the file on one, two, four or eight of the screen.

const ZOOMS = [1, 2, 4, 8];
const WHEEL_STEP = 60; // of a wheel's delta for one step: a notch of a mouse, a good part of a swipe

function startZoom(stage, shown) {
  const image = stage.querySelector("img");
  const zoom = { width: 0, height: 0, level: null, x: 0.5, y: 0.5, scale: 1 };
  let wheeled = 0;

  const screenPixels = () => window.devicePixelRatio || 1;
  const fitScale = () => Math.min(stage.clientWidth / zoom.width, stage.clientHeight / zoom.height) || 1;
  // Where the picture's side is shorter than the stage's it stays in the middle, else its edge stays at the edge.
  const within = (at, side, room) => (side * zoom.scale <= room ? 0.5 : clamp(at, room / 2 / side / zoom.scale));
  const clamp = (value, edge) => Math.min(Math.max(value, edge), 1 - edge);

  function draw() {
    if (!zoom.width || !stage.clientWidth) return;
    zoom.scale = zoom.level === null ? fitScale() : zoom.level / screenPixels();
    zoom.x = within(zoom.x, zoom.width, stage.clientWidth);
    zoom.y = within(zoom.y, zoom.height, stage.clientHeight);
    const width = zoom.width * zoom.scale;
    const height = zoom.height * zoom.scale;
    image.style.width = `${width}px`;
    image.style.height = `${height}px`;
    image.style.transform = `translate(${stage.clientWidth / 2 - zoom.x * width}px, ${stage.clientHeight / 2 - zoom.y * height}px)`;
    const level = zoom.scale * screenPixels();
    image.style.imageRendering = level >= 2 ? "pixelated" : "auto";
    stage.classList.toggle("movable", width > stage.clientWidth + 1 || height > stage.clientHeight + 1);
    shown(zoom.level === null, level);
  }

  // `point` (of the window) keeps the pixel it is on.
  function zoomTo(level, point) {
    const box = stage.getBoundingClientRect();
    const dx = point ? point.clientX - box.left - stage.clientWidth / 2 : 0;
    const dy = point ? point.clientY - box.top - stage.clientHeight / 2 : 0;
    const x = zoom.x + dx / (zoom.width * zoom.scale);
    const y = zoom.y + dy / (zoom.height * zoom.scale);
    zoom.level = level;
    const scale = level === null ? fitScale() : level / screenPixels();
    zoom.x = x - dx / (zoom.width * scale);
    zoom.y = y - dy / (zoom.height * scale);
    draw();
  }

  function step(direction, point) {
    const fit = fitScale() * screenPixels();
    const now = zoom.level ?? fit;
    const levels = [...ZOOMS, fit].sort((a, b) => a - b);
    const next = direction > 0 ? levels.find((one) => one > now * 1.001) : levels.findLast((one) => one < now * 0.999);
    if (next !== undefined) zoomTo(next === fit ? null : next, point);
  }

  // One key to see everything: fit, 100 %, and so on up to 800 %, then fit again.
  function cycle(point) {
    const next = zoom.level === null ? ZOOMS[0] : ZOOMS[ZOOMS.indexOf(zoom.level) + 1];
    zoomTo(next ?? null, point);
  }

  function pan(dx, dy) {
    zoom.x += dx / (zoom.width * zoom.scale);
    zoom.y += dy / (zoom.height * zoom.scale);
    draw();
  }

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    wheeled += event.deltaMode === 1 ? event.deltaY * 20 : event.deltaY;
    if (Math.abs(wheeled) < WHEEL_STEP) return;
    step(-Math.sign(wheeled), event);
    wheeled = 0;
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => cycle(event));
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !stage.classList.contains("movable")) return;
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("moving");
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.classList.contains("moving")) pan(-event.movementX, -event.movementY);
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => stage.classList.remove("moving"));
  new ResizeObserver(draw).observe(stage);

  return {
    step,
    cycle,
    fit: () => zoomTo(null),
    // A part of what one sees: a key held down glides over the picture.
    push: (dx, dy) => pan(dx * stage.clientWidth * 0.15, dy * stage.clientHeight * 0.15),
    size(width, height, anew) {
      zoom.width = width;
      zoom.height = height;
      if (anew) Object.assign(zoom, { level: null, x: 0.5, y: 0.5 });
      draw();
    },
  };
}
