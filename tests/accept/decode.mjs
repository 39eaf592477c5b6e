// What @mapbox/vector-tile reads in tiles: node decode.mjs NODE_MODULES TILE… prints JSON.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, ...files] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(resolve(modules), path)).href);
const { VectorTile } = await load("@mapbox/vector-tile/index.js");
const { default: Pbf } = await load("pbf/index.js");
const TYPES = ["", "point", "line", "polygon"];

// JSON has no word for these numbers.
const value = (each) =>
  typeof each === "number" && !Number.isFinite(each) ? { number: String(each) } : each;

function feature(layer, index) {
  const read = layer.feature(index);
  return {
    id: read.id ?? null,
    type: TYPES[read.type],
    paths: read.loadGeometry().map((path) => path.map(({ x, y }) => [x, y])),
    properties: Object.fromEntries(
      Object.entries(read.properties).map(([name, each]) => [name, value(each)]),
    ),
  };
}

function layers(file) {
  // A copy: small files are read into a part of Node's pool, which Pbf reads doubles from the start of.
  const tile = new VectorTile(new Pbf(new Uint8Array(readFileSync(file))));
  return Object.entries(tile.layers).map(([name, layer]) => ({
    name,
    version: layer.version,
    extent: layer.extent,
    features: Array.from({ length: layer.length }, (_, index) => feature(layer, index)),
  }));
}

process.stdout.write(JSON.stringify(Object.fromEntries(files.map((file) => [file, layers(file)]))));
