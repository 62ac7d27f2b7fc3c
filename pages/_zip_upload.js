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

// What our route says; nothing where the answer is another's, such as the HTML page of a proxy.
function ours(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return null;
  }
}

// One sentence about an answer that a proxy before the server gave, with what to do there.
function foreign(status, file) {
  const proxy = "A proxy before the server";
  if (status === 413) {
    return `${proxy} lets no file of ${size(file.size)} pass: raise its limit for the body of a request (client_max_body_size in nginx, request_body max_size in Caddy), or split the ZIP.`;
  }
  if (status === 408 || status === 504 || status === 524) {
    return `${proxy} waited too long for the upload: raise its time limits (client_body_timeout, proxy_send_timeout and proxy_read_timeout in nginx) and choose the file again.`;
  }
  if (status === 502 || status === 503) {
    return `${proxy} does not reach the server, or lost it during the upload: check that the server runs and choose the file again.`;
  }
  if (status === 404 || status === 405) {
    return `${proxy} does not lead uploads to the server (${status}): all addresses below the dashboard's must go there, with the method PUT.`;
  }
  if (status === 401 || status === 403 || (status >= 200 && status < 400)) {
    return `${proxy} answered the upload in the server's place (${status}), perhaps because you are no longer signed in there: reload the page and choose the file again.`;
  }
  return `The upload failed (${status}): look at the log of the server, and of a proxy before it, then choose the file again.`;
}

function cutOff(sent, file) {
  const when = sent ? `after ${size(sent)} of ${size(file.size)}` : "before the upload began";
  return `The connection was cut off ${when}. Check that the server runs and choose the file again; if it happens again, a proxy before the server may limit the size or the time of a request (client_max_body_size and client_body_timeout in nginx).`;
}

function send(zone, address, file, done) {
  if (zone.dataset.sending) return;
  zone.dataset.sending = "yes";
  zone.querySelector(".problem").hidden = true;
  show(zone, "busy");
  const words = zone.querySelector(".words");
  const filled = zone.querySelector(".filled");
  const request = new XMLHttpRequest();
  let sent = 0;
  request.upload.onprogress = (event) => {
    sent = event.loaded;
    filled.style.width = `${(100 * event.loaded) / Math.max(1, event.total)}%`;
    words.textContent = `${file.name}: ${size(event.loaded)} of ${size(event.total)}. Please stay on this page until it is here.`;
  };
  request.onload = () => {
    delete zone.dataset.sending;
    const answer = ours(request);
    if (request.status === 200 && answer?.bytes === file.size) {
      words.textContent = `${file.name} has arrived.`;
      done({ name: file.name, bytes: file.size });
      return;
    }
    complain(zone, typeof answer?.message === "string" ? answer.message : foreign(request.status, file));
  };
  request.onerror = () => {
    delete zone.dataset.sending;
    complain(zone, cutOff(sent, file));
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
