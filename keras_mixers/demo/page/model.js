/** A TFLite file in the browser, run by LiteRT.js. */

import {loadAndCompile, loadLiteRt, Tensor} from '@litertjs/core';

const WASM = new URL('litert/wasm/', import.meta.url).pathname;

/**
 * Loads the model and runs it once, so that the first image takes no longer than the others.
 *
 * @param {Uint8Array} file The TFLite file.
 * @param {object} about What keras-mixers demo says of it.
 * @return {Promise<Model>}
 */
export async function load(file, about) {
  const threads = await loadRuntime();
  const model = new Model(await loadAndCompile(file, {accelerator: 'wasm'}), about, threads);
  await model.run(new Uint8Array(about.shape.reduce((a, b) => a * b)));
  return model;
}

/** Returns whether the runtime has threads: not every browser lets it. */
async function loadRuntime() {
  if (self.crossOriginIsolated) {
    try {
      await loadLiteRt(WASM, {threads: true});
      return true;
    } catch {
      // Without threads, then.
    }
  }
  await loadLiteRt(WASM);
  return false;
}

class Model {
  /** Its input and output have one image. */
  constructor(compiled, about, threads) {
    this.compiled = compiled;
    this.about = about;
    this.threads = threads;
  }

  /**
   * @param {Uint8Array} pixels
   * @return {Promise<{probabilities: number[], milliseconds: number}>}
   */
  async run(pixels) {
    const {about} = this;
    const input = new Tensor(this.toInput(pixels), [1, ...about.shape]);
    const start = performance.now();
    const [output] = await this.compiled.run(input);
    const numbers = Array.from(output.toTypedArray());
    const milliseconds = performance.now() - start;
    input.delete();
    output.delete();
    const real = numbers.map((n) => (n - about.output_zero_point) * about.output_scale);
    return {probabilities: toProbabilities(real, about.probabilities_by), milliseconds};
  }

  toInput(pixels) {
    const {input, shape, pixel_scale: scale, pixel_offset: offset} = this.about;
    if (input === 'uint8') return pixels;
    const channels = shape[2];
    return Float32Array.from(pixels, (pixel, i) =>
      pixel * scale[i % channels] + offset[i % channels]);
  }
}

function toProbabilities(numbers, by) {
  if (by === 'sigmoid') return numbers.map((n) => 1 / (1 + Math.exp(-n)));
  if (by !== 'softmax') return numbers;
  const largest = numbers.reduce((a, b) => Math.max(a, b));
  const powers = numbers.map((n) => Math.exp(n - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}
