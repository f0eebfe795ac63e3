/** What the page does: takes pictures, by whatever way, and shows what the model says of them. */

import {centralSquare, paint, toPixels} from './picture.js';

const TIMED = 15; // Runs, the median of whose times is shown.
const LONG = 12; // Letters of a name: more are written smaller.
const INK = 0.09; // Width of a stroke, of the box.

const at = (id) => document.getElementById(id);
const box = at('draw');
const ink = box.getContext('2d', {willReadFrequently: true});
const video = at('video');

let about = null;
let model = null;
let wanted = null; // A function that takes the next picture, or null.
let busy = false;
let again = null; // Takes the last picture once more.
let times = [];
let camera = null; // Its stream, while it is on.
let isAsking = false; // Whether the browser asks for the camera.
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
    about = await (await fetch('model.json')).json();
    describe();
    const {load} = await import('./model.js');
    model = await load('model.tflite', about);
  } catch (error) {
    return say(`The model cannot be loaded: ${error.message ?? error}`, true);
  }
  at('runtime').textContent = `LiteRT.js on the CPU, ${model.threads ? 'with' : 'without'} threads`;
  document.querySelector('main').inert = false;
  document.body.classList.add('ready');
  say('');
  listen();
}

function describe() {
  const [height, width, channels] = about.shape;
  const size = about.bytes < 1e6 ? `${(about.bytes / 1e3).toFixed(0)} kB`
    : `${(about.bytes / 1e6).toFixed(1)} MB`;
  const colours = channels === 3 ? 'colour' : 'gray';
  document.title = `${about.name}: keras_mixers demo`;
  at('name').textContent = about.name;
  at('about').textContent = `${width} × ${height} pixels, ${colours} · ${about.source}`;
  at('size').textContent = size;
  at('precision').textContent = about.precision;
  const draws = canBeDrawn();
  at('clear').hidden = !draws;
  at('hint').textContent = draws ? 'Draw here, as large as the box' : 'Drop a picture here';
  box.setAttribute('aria-label', draws ? 'A box to draw in' : 'The picture');
  at('stage').classList.toggle('drawn', draws);
}

function canBeDrawn() {
  return about.shape[2] === 1;
}

/** Asks for the answer to a picture; the last one asked for wins. */
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

/** @param {ImageData} square */
async function answer(square) {
  at('invert-row').hidden = isDrawing || !canBeDrawn();
  const isInverted = at('invert').checked && !isDrawing;
  const pixels = toPixels(square, about.shape, about.interpolation, isInverted);
  paint(at('seen'), pixels, about.shape);
  const {probabilities, milliseconds} = await model.run(pixels);
  const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  const best = about.labels[order[0]];
  at('answer').textContent = best;
  at('answer').classList.toggle('long', best.length > LONG);
  showBars(order.slice(0, about.top_k), probabilities);
  times = [...times, milliseconds].slice(-TIMED);
  const median = times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];
  at('milliseconds').textContent = `${median.toFixed(median < 10 ? 2 : 0)} ms`;
  at('milliseconds').title = `The median of the last ${times.length}`;
}

function showBars(classes, probabilities) {
  const bars = at('bars');
  while (bars.children.length < classes.length) bars.append(makeBar());
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

/** Shows in the box what was chosen. */
function show(picture, width, height) {
  const side = Math.min(width, height) * about.eval_crop;
  ink.imageSmoothingQuality = 'high';
  // A few pixels are shown as such.
  ink.imageSmoothingEnabled = side > 64;
  ink.drawImage(picture, (width - side) / 2, (height - side) / 2, side, side,
    0, 0, box.width, box.height);
}

async function takeFile(file) {
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    return say(`This is no picture that the browser can read: ${file.name}`, true);
  }
  stopCamera();
  say('');
  wipe();
  at('hint').hidden = true;
  show(picture, picture.width, picture.height);
  const square = centralSquare(picture, picture.width, picture.height, about.eval_crop);
  picture.close();
  ask(() => square);
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    return say(isSecureContext ? 'This browser has no camera for pages; choose a picture instead.'
      : 'Browsers give the camera only to pages of https:// and http://localhost (python '
        + 'tools/demo.py --help says how a phone gets one); choose a picture instead.', true);
  }
  if (isAsking) return;
  isAsking = true;
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({
      video: {facingMode: 'environment', width: {ideal: 640}},
    });
    await video.play();
  } catch (error) {
    return say(whyNoCamera(error), true);
  } finally {
    isAsking = false;
  }
  camera = video.srcObject;
  say('');
  isDrawing = false;
  showCamera(true);
  look();
}

function whyNoCamera(error) {
  return {
    NotAllowedError: 'The camera was refused: allow it to this page in the browser’s settings.',
    NotFoundError: 'This machine has no camera; choose a picture instead.',
    NotReadableError: 'The camera is in use elsewhere; close that, or choose a picture instead.',
  }[error.name] ?? `The camera cannot be used: ${error.message}`;
}

/** Takes a picture of the camera whenever the last one was answered. */
async function look() {
  while (camera) {
    await ask(() => centralSquare(video, video.videoWidth, video.videoHeight, about.eval_crop));
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  if (!camera) return;
  // The last frame stays.
  const last = centralSquare(video, video.videoWidth, video.videoHeight, about.eval_crop);
  wanted = null;
  again = () => last;
  show(video, video.videoWidth, video.videoHeight);
  camera.getTracks().forEach((track) => track.stop());
  camera = video.srcObject = null;
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
  ask(() => centralSquare(box, box.width, box.height, about.eval_crop));
}

function beginStroke(event) {
  if (!event.isPrimary || event.button > 0) return;
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
  addEventListener('dragover', (event) => {
    event.preventDefault();
    at('stage').classList.add('over');
  });
  addEventListener('dragleave', () => at('stage').classList.remove('over'));
  addEventListener('drop', (event) => {
    event.preventDefault();
    at('stage').classList.remove('over');
    if (event.dataTransfer.files.length) takeFile(event.dataTransfer.files[0]);
  });
}

start();
