// Runs MoveNet's own graph with TensorFlow.js; see make_ncnn_fixtures.py, which calls this.
//
// Usage: node make_ncnn_fixtures.mjs MODEL WORK
//
// MODEL is movenet-lightning.json. WORK has pictures as NAME.u8 (192 x 192 RGB); of each comes
// NAME.answer, float32 [17, 3], and of that called "raw" also head0…head3: the graph's inner
// tensors, rounded to eighths, and raw.rounded, what the rest of the graph makes of those.
import * as tf from '@tensorflow/tfjs';
import {readFileSync, readdirSync, writeFileSync} from 'node:fs';
import {basename, dirname, join} from 'node:path';

const [path, work] = process.argv.slice(2);
const HEADS = ['center_0/conv2d_4', 'kpt_regress_0/conv2d_6', 'kpt_heatmap_0/conv2d_5',
  'kpt_offset_0/conv2d_7'].map((name) => `StatefulPartitionedCall/${name}/BiasAdd`);

const json = JSON.parse(readFileSync(path, 'utf8'));
const [group] = json.weightsManifest;
const weights = readFileSync(join(dirname(path), group.paths[0]));
const model = await tf.loadGraphModel(tf.io.fromMemory({
  modelTopology: json.modelTopology,
  signature: json.signature,
  weightSpecs: group.weights,
  weightData: weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length),
}));
const write = (name, tensor) => writeFileSync(join(work, name), new Uint8Array(
  new Float32Array(tensor.dataSync()).buffer));

for (const file of readdirSync(work).filter((name) => name.endsWith('.u8'))) {
  const name = basename(file, '.u8');
  const pixels = Int32Array.from(readFileSync(join(work, file)));
  const image = tf.tensor4d(pixels, [1, 192, 192, 3], 'int32');
  write(`${name}.answer`, model.execute({input: image}, 'Identity'));
  if (name !== 'raw') continue;
  const heads = model.execute({input: image}, HEADS).map((head) => head.mul(8).round().div(8));
  heads.forEach((head, number) => write(`head${number}`, head));
  const inner = Object.fromEntries(HEADS.map((head, number) => [head, heads[number]]));
  write('raw.rounded', model.execute(inner, 'Identity'));
}
