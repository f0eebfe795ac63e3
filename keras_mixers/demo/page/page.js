/** What the page does: takes images, by whatever way, and shows what the model says of them. */

import {paint, seenPart, toPixels, windowOf} from './image.js';

const TIMED = 15; // Runs, the median of whose times is shown.
const LONG = 12; // Letters of a name: more are written smaller.
const INK = 0.09; // Width of a stroke, of the box.

const at = (id) => document.getElementById(id);
const box = at('draw');
const ink = box.getContext('2d', {willReadFrequently: true});
const video = at('video');

let about = null;
let model = null;
let wanted = null; // A function that takes the next image, or null.
let busy = false;
let again = null; // Takes the last image once more.
let times = [];
let turn = 0; // Of what a person asked for last; what was asked for before is late.
let camera = null; // Its stream, while it is on.
let asking = null; // The turn for which the browser asks for the camera.
let isDrawing = false; // Whether what is in the box was drawn.
let pen = [0, 0]; // Where the stroke has come to.

function say(sentence, isError = false) {
  at('status').textContent = sentence;
  at('status').classList.toggle('error', isError);
}

/** Loads the model, or says why it cannot be loaded. */
async function start() {
  if (typeof WebAssembly !== 'object') {
    return say('This browser has no WebAssembly, in which the model runs: use a newer browser, or '
      + 'allow WebAssembly in its settings.', true);
  }
  try {
    about = await (await get('model.json')).json();
    describe();
    const {load} = await import('./model.js');
    model = await load(await readModel(), about);
  } catch (error) {
    return say(`The model cannot be loaded: ${error.message ?? error}`, true);
  }
  at('runtime').textContent = `LiteRT.js on the CPU, ${model.threads ? 'with' : 'without'} threads`;
  document.querySelector('main').inert = false;
  document.body.classList.add('ready');
  say('');
  listen();
}

async function get(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

/** Returns the bytes of the model, and says how many are there. */
async function readModel() {
  const file = new Uint8Array(about.bytes);
  const reader = (await get('model.tflite')).body.getReader();
  let length = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    file.set(part.value, length);
    length += part.value.length;
    say(`Loading: ${Math.floor(100 * length / file.length)} % of ${sizeOf(file.length)}`);
  }
  if (length < file.length) throw new Error('model.tflite is cut short; reload the page');
  say('Loading…');
  return file;
}

function sizeOf(bytes) {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function describe() {
  const [height, width, channels] = about.shape;
  const colors = channels === 3 ? 'color' : 'gray';
  document.title = `${about.name}: keras_mixers demo`;
  at('name').textContent = about.name;
  const source = about.source === about.name ? '' : ` · ${about.source}`;
  at('about').textContent = `${width} × ${height} pixels, ${colors}${source}`;
  at('size').textContent = sizeOf(about.bytes);
  at('precision').textContent = about.precision;
  const draws = canBeDrawn();
  at('clear').hidden = !draws;
  at('hint').textContent = draws ? 'Draw here, as large as the box' : 'Drop an image here';
  box.setAttribute('aria-label', draws ? 'A box to draw in' : 'The image');
  at('stage').classList.toggle('drawn', draws);
}

function canBeDrawn() {
  return about.shape[2] === 1;
}

/** Asks for the answer to an image; the last one asked for wins. */
async function ask(take) {
  wanted = again = take;
  if (busy) return;
  setBusy(true);
  while (wanted) {
    const next = wanted;
    wanted = null;
    try {
      await answer(next());
    } catch (error) {
      say(`The model cannot be run: ${error.message ?? error}`, true);
    }
    await new Promise(requestAnimationFrame);
  }
  setBusy(false);
}

function setBusy(isBusy) {
  busy = isBusy;
  at('answer').setAttribute('aria-busy', String(isBusy));
}

/** @param {ImageData} image */
async function answer(image) {
  at('invert-row').hidden = isDrawing || !canBeDrawn();
  const isInverted = at('invert').checked && !isDrawing;
  const pixels = toPixels(image, about, isInverted);
  paint(at('seen'), pixels, about.shape);
  const mine = turn;
  const {probabilities, milliseconds} = await model.run(pixels);
  if (mine !== turn) return;
  const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  const found = about.thresholds
    ? order.filter((i) => probabilities[i] >= about.thresholds[i]) : order.slice(0, 1);
  const best = found.map((i) => about.labels[i]).join(', ') || 'none of the labels';
  at('answer').textContent = best;
  at('answer').classList.toggle('long', best.length > LONG);
  showBars(order.slice(0, Math.max(about.top_k, found.length)), probabilities);
  times = [...times, milliseconds].slice(-TIMED);
  const median = [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
  at('milliseconds').textContent = `${median.toFixed(median < 10 ? 2 : 0)} ms`;
  at('milliseconds').title = `The median of the last ${times.length}`;
}

function showBars(classes, probabilities) {
  const bars = at('bars');
  while (bars.children.length < classes.length) bars.append(makeBar());
  while (bars.children.length > classes.length) bars.lastChild.remove();
  classes.forEach((label, i) => {
    const [name, track, percent] = bars.children[i].children;
    const share = `${(100 * probabilities[label]).toFixed(1)} %`;
    name.textContent = about.labels[label];
    name.title = about.labels[label];
    track.firstChild.style.width = share.replace(' ', '');
    percent.textContent = share;
  });
}

function makeBar() {
  const bar = document.createElement('li');
  for (const name of ['label', 'track', 'percent']) {
    bar.append(Object.assign(document.createElement('span'), {className: name}));
  }
  bar.children[1].append(document.createElement('span'));
  return bar;
}

function clear() {
  turn++;
  stopCamera();
  wanted = again = null;
  wipe();
  at('hint').hidden = false;
  at('answer').textContent = '–';
  at('bars').replaceChildren();
  at('seen').width = at('seen').height = 1;
  at('invert-row').hidden = true;
  say('');
}

function wipe() {
  ink.fillStyle = 'black';
  ink.fillRect(0, 0, box.width, box.height);
  isDrawing = false;
}

/** Returns the part of an image that the model sees. */
function crop(image, width, height) {
  return seenPart(image, width, height, about);
}

/** Shows that part in the box. */
function show(image, width, height) {
  const part = windowOf(width, height, about);
  const scale = box.width / Math.max(part.width, part.height);
  const place = [
    (box.width - scale * part.width) / 2, (box.height - scale * part.height) / 2,
    scale * part.width, scale * part.height,
  ];
  ink.fillStyle = 'black'; // Beside it, where it is not square.
  ink.fillRect(0, 0, box.width, box.height);
  ink.fillStyle = 'white'; // What is transparent, as for the model.
  ink.fillRect(...place);
  ink.imageSmoothingQuality = 'high';
  // A few pixels are shown as such.
  ink.imageSmoothingEnabled = part.width > 64;
  ink.drawImage(image, part.left, part.top, part.width, part.height, ...place);
}

/** Shows a file, and asks what it is, unless something else is asked for meanwhile. */
async function takeFile(file, remark = '') {
  const mine = ++turn;
  const image = await createImageBitmap(file).catch(() => null);
  if (mine !== turn) return image?.close();
  if (!image) {
    if (again) ask(again); // Its answer may have come too late.
    return say(`This is no image that the browser can read: ${file.name}`, true);
  }
  stopCamera();
  say(remark);
  wipe();
  at('hint').hidden = true;
  show(image, image.width, image.height);
  const taken = crop(image, image.width, image.height);
  image.close();
  ask(() => taken);
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    return say(isSecureContext ? 'This browser has no camera for pages; choose an image instead.'
      : 'Browsers give the camera only to pages of https:// and http://localhost ('
        + 'keras-mixers demo --help says how a phone gets one); choose an image instead.', true);
  }
  const isAsked = asking !== null;
  asking = turn;
  if (isAsked) return;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: {facingMode: 'environment', width: {ideal: 640}},
    });
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    release(stream);
    if (asking === turn) say(whyNoCamera(error), true);
    asking = null;
    return;
  }
  const isLate = asking !== turn;
  asking = null;
  if (isLate) return release(stream);
  turn++;
  camera = stream;
  stream.getTracks()[0].addEventListener('ended', () => {
    if (camera !== stream) return;
    stopCamera();
    say('The camera has stopped by itself; is it still connected?', true);
  });
  say('');
  isDrawing = false;
  showCamera(true);
  look();
}

function whyNoCamera(error) {
  return {
    NotAllowedError: 'The camera was refused: allow it to this page in the browser’s settings.',
    NotFoundError: 'This machine has no camera; choose an image instead.',
    NotReadableError: 'The camera is in use elsewhere; close that, or choose an image instead.',
  }[error.name] ?? `The camera cannot be used: ${error.message}`;
}

/** Takes an image of the camera whenever the last one was answered. */
async function look() {
  while (camera) {
    await ask(() => crop(video, video.videoWidth, video.videoHeight));
    await new Promise(requestAnimationFrame);
  }
}

function release(stream) {
  stream?.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

function stopCamera() {
  if (!camera) return;
  // The last frame stays.
  const last = crop(video, video.videoWidth, video.videoHeight);
  wanted = null;
  again = () => last;
  show(video, video.videoWidth, video.videoHeight);
  release(camera);
  camera = null;
  showCamera(false);
}

function showCamera(isOn) {
  video.hidden = !isOn;
  at('hint').hidden = true;
  at('camera').textContent = isOn ? 'Stop' : 'Camera';
  at('camera').setAttribute('aria-pressed', String(isOn));
  // Nobody wants thirty answers a second read out.
  at('answer').setAttribute('aria-live', isOn ? 'off' : 'polite');
}

/** Where in the box a pointer is. */
function place({clientX, clientY}) {
  const {left, top, width, height} = box.getBoundingClientRect();
  return [(clientX - left) / width * box.width, (clientY - top) / height * box.height];
}

function draw(event) {
  if (!box.hasPointerCapture(event.pointerId)) return;
  // A quick hand is between two frames, too.
  const events = event.getCoalescedEvents?.() ?? [];
  for (const one of events.length ? events : [event]) {
    ink.beginPath();
    ink.moveTo(...pen);
    ink.lineTo(...(pen = place(one)));
    ink.stroke();
  }
  ask(() => crop(box, box.width, box.height));
}

function beginStroke(event) {
  if (!event.isPrimary || event.button > 0) return;
  turn++;
  stopCamera();
  if (!isDrawing) wipe();
  isDrawing = true;
  at('hint').hidden = true;
  say('');
  box.setPointerCapture(event.pointerId);
  Object.assign(ink, {
    strokeStyle: 'white', lineWidth: INK * box.width, lineCap: 'round', lineJoin: 'round',
  });
  pen = place(event);
  draw(event);
}

function listen() {
  wipe();
  if (canBeDrawn()) {
    box.addEventListener('pointerdown', beginStroke);
    box.addEventListener('pointermove', draw);
  }
  at('clear').addEventListener('click', clear);
  at('invert').addEventListener('change', () => again && ask(again));
  at('file').addEventListener('change', ({target}) => {
    if (target.files.length) takeFile(target.files[0]);
    target.value = ''; // The same file may be chosen again.
  });
  at('camera').addEventListener('click', () => (camera ? stopCamera() : startCamera()));
}

/** Before the model is there, too: else the browser would leave the page for a dropped file. */
function listenToDrops() {
  addEventListener('dragover', (event) => {
    event.preventDefault();
    at('stage').classList.toggle('over', Boolean(model));
  });
  addEventListener('dragleave', () => at('stage').classList.remove('over'));
  addEventListener('drop', (event) => {
    event.preventDefault();
    at('stage').classList.remove('over');
    if (model) takeDrop(event.dataTransfer.files);
  });
}

function takeDrop(files) {
  if (!files.length) return say('What was dropped is no file; save the image first.', true);
  takeFile(files[0], files.length > 1 ? `Of ${files.length} files, the first: ${files[0].name}` : '');
}

listenToDrops();
start();
