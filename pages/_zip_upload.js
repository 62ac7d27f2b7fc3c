// Streams the chosen file with one PUT. XMLHttpRequest, because fetch cannot say how far an upload is.

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : bytes < 5e8 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

function show(zone, part) {
  zone.querySelector(".idle").hidden = part !== "idle";
  zone.querySelector(".busy").hidden = part !== "busy";
}

function complain(zone, sentence) {
  const problem = zone.querySelector(".problem");
  problem.textContent = sentence;
  problem.hidden = false;
  show(zone, "idle");
}

function send(zone, address, file, done) {
  if (zone.dataset.sending) return;
  zone.dataset.sending = "yes";
  zone.querySelector(".problem").hidden = true;
  show(zone, "busy");
  const words = zone.querySelector(".words");
  const filled = zone.querySelector(".filled");
  const request = new XMLHttpRequest();
  request.upload.onprogress = (event) => {
    filled.style.width = `${(100 * event.loaded) / Math.max(1, event.total)}%`;
    words.textContent = `${file.name}: ${size(event.loaded)} of ${size(event.total)}. Please stay on this page until it is here.`;
  };
  request.onload = () => {
    delete zone.dataset.sending;
    if (request.status === 200) {
      words.textContent = `${file.name} has arrived.`;
      done({ name: file.name, bytes: file.size });
      return;
    }
    let sentence = "The upload failed. Try again.";
    try {
      sentence = JSON.parse(request.responseText).message || sentence;
    } catch {
      // The answer did not come from our route; the general sentence stands.
    }
    complain(zone, sentence);
  };
  request.onerror = () => {
    delete zone.dataset.sending;
    complain(zone, "The connection was lost during the upload. Check that the server runs and choose the file again.");
  };
  request.open("PUT", address);
  request.setRequestHeader("Content-Type", "application/zip");
  request.send(file);
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const zone = parentElement.querySelector(".zone");
  const input = zone.querySelector("input");
  const take = (file) => file && send(zone, data.address, file, (uploaded) => setStateValue("uploaded", uploaded));
  zone.onclick = () => input.click();
  zone.onkeydown = (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      input.click();
    }
  };
  input.onclick = (event) => event.stopPropagation();
  input.onchange = () => take(input.files[0]);
  zone.ondragover = (event) => {
    event.preventDefault();
    zone.classList.add("over");
  };
  zone.ondragleave = () => zone.classList.remove("over");
  zone.ondrop = (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer.files[0]);
  };
}
