/**
 * From an image to the pixels that a model sees, as its evaluation does it: the central crop, or
 * all of it, then tf.image.resize(antialias=True), then whole numbers from 0 to 255.
 *
 * `about` is what model.json says: `shape` (height, width and channels of the model's images),
 * `interpolation`, `crop_mode` (center, squash or pad), `eval_crop` (of center: the size of the crop,
 * as a share of the largest one) and `fill` (of pad: what is around it, by channel).
 *
 * A canvas resizes otherwise, each browser in its own way; hence the arithmetic below. What is left
 * of a difference is how browsers decode a JPEG: by a level or two of 255.
 */

/** As tf.image.rgb_to_grayscale. */
const GRAY = [0.2989, 0.587, 0.114];

/** Pixels on the longer side of what is read: more would exceed the largest canvas of some phones. */
const LARGEST = 2048;

/** Of a resized pixel: how far it looks on either side, and the weight of what it finds there. */
const KERNELS = {
  bilinear: {radius: 1, weight: (x) => 1 - x},
  // Keys' cubic, with -1/2 for its slope at 1.
  bicubic: {
    radius: 2,
    weight: (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2),
  },
};

/**
 * Which part of an image is seen, as keras_mixers/preprocessing/cropping.py has it.
 *
 * @param {number} width Of the image.
 * @param {number} height Of the image.
 * @param {Object} about The model.
 */
export function windowOf(width, height, {eval_crop: share, crop_mode: mode, shape}) {
  if (mode !== 'center') return {width, height, left: 0, top: 0};
  const [rows, columns] = shape;
  const area = Math.min(height * columns, width * rows);
  const side = (other) => Math.max(1, roundHalfToEven(
    Math.fround(Math.fround(area / other) * Math.fround(share))));
  const size = {width: side(rows), height: side(columns)};
  return {
    ...size,
    left: Math.floor((width - size.width) / 2),
    top: Math.floor((height - size.height) / 2),
  };
}

function roundHalfToEven(x) {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/**
 * The part of an image that is seen, as RGBA. What is transparent becomes white.
 *
 * @param {CanvasImageSource} image
 * @param {number} width Of the image.
 * @param {number} height Of the image.
 * @param {Object} about The model.
 * @return {ImageData}
 */
export function seenPart(image, width, height, about) {
  const crop = windowOf(width, height, about);
  const shrink = Math.min(1, LARGEST / Math.max(crop.width, crop.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(shrink * crop.width));
  canvas.height = Math.max(1, Math.round(shrink * crop.height));
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.fillStyle = 'white';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, crop.left, crop.top, crop.width, crop.height,
    0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/**
 * The pixels that the model sees.
 *
 * @param {ImageData} image
 * @param {Object} about The model.
 * @param {boolean} inverted Whether black and white change places.
 * @return {Uint8Array} Row by row, the channels of a pixel side by side.
 */
export function toPixels(image, about, inverted) {
  const [height, width, channels] = about.shape;
  const inner = about.crop_mode === 'pad' ? fitting(image, about.shape) : {width, height};
  const left = Math.floor((width - inner.width) / 2);
  const top = Math.floor((height - inner.height) / 2);
  const pixels = new Uint8Array(height * width * channels);
  split(image, channels).forEach((plane, channel) => {
    const resized = resize(
      plane, image.width, image.height, inner.width, inner.height, about.interpolation);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [row, column] = [y - top, x - left];
        const isInside = row >= 0 && row < inner.height && column >= 0 && column < inner.width;
        const number = isInside ? resized[row * inner.width + column] : about.fill[channel];
        const value = Math.floor(Math.min(Math.max(number, 0), 255) + 0.5);
        pixels[(y * width + x) * channels + channel] = inverted ? 255 - value : value;
      }
    }
  });
  return pixels;
}

/** The size of an image that is resized to fit into the model's. */
function fitting(image, [rows, columns]) {
  const scale = Math.min(rows / image.height, columns / image.width);
  const side = (n, most) => Math.max(1, Math.min(roundHalfToEven(n * scale), most));
  return {width: side(image.width, columns), height: side(image.height, rows)};
}

/** Puts pixels on a canvas, which takes their size. */
export function paint(canvas, pixels, [height, width, channels]) {
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * i + channel] = pixels[i * channels + Math.min(channel, channels - 1)];
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext('2d').putImageData(image, 0, 0);
}

/** Red, green and blue, or gray: an array each. */
function split({data}, channels) {
  const planes = Array.from({length: channels}, () => new Float32Array(data.length / 4));
  for (let i = 0; i < data.length / 4; i++) {
    const [red, green, blue] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) {
      planes[0][i] = GRAY[0] * red + GRAY[1] * green + GRAY[2] * blue;
    } else {
      [planes[0][i], planes[1][i], planes[2][i]] = [red, green, blue];
    }
  }
  return planes;
}

/**
 * What tf.image.resize(antialias=True) makes of one channel: along the rows, then the columns.
 *
 * @return {Float32Array} Of newWidth * newHeight numbers, which may leave the range of `plane`.
 */
export function resize(plane, width, height, newWidth, newHeight, interpolation) {
  const across = weights(width, newWidth, interpolation);
  const narrow = new Float32Array(newWidth * height);
  for (let y = 0; y < height; y++) {
    across.forEach(({first, share}, x) => {
      let sum = 0;
      for (let i = 0; i < share.length; i++) sum += share[i] * plane[y * width + first + i];
      narrow[y * newWidth + x] = sum;
    });
  }
  const result = new Float32Array(newWidth * newHeight);
  weights(height, newHeight, interpolation).forEach(({first, share}, y) => {
    for (let x = 0; x < newWidth; x++) {
      let sum = 0;
      for (let i = 0; i < share.length; i++) sum += share[i] * narrow[(first + i) * newWidth + x];
      result[y * newWidth + x] = sum;
    }
  });
  return result;
}

/** For each of `to` pixels along a line of `from`: its first old pixel, and the share of each. */
function weights(from, to, interpolation) {
  const {radius, weight} = KERNELS[interpolation];
  const step = from / to;
  const stretch = Math.max(step, 1); // The antialiasing: to shrink is to look farther.
  return Array.from({length: to}, (_, x) => {
    const center = (x + 0.5) * step;
    const first = Math.max(Math.ceil(center - radius * stretch - 0.5), 0);
    const last = Math.min(Math.floor(center + radius * stretch - 0.5), from - 1);
    const share = Array.from({length: last - first + 1}, (_, i) =>
      weight(Math.abs(first + i + 0.5 - center) / stretch));
    const sum = share.reduce((a, b) => a + b, 0);
    return {first, share: share.map((one) => one / sum)};
  });
}
