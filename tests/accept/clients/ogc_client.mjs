// What @camptocamp/ogc-client finds: ogc_client.mjs NODE_MODULES ADDRESS
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, address] = process.argv;
const root = `${modules}/@camptocamp/ogc-client`;
const about = JSON.parse(await readFile(`${root}/package.json`, "utf8"));
const entry = createRequire(`${modules}/`).resolve("@camptocamp/ogc-client");
const { OgcApiEndpoint } = await import(pathToFileURL(entry));

const endpoint = new OgcApiEndpoint(`${address}/`);
const names = (collections) => collections.map((each) => each.name ?? each);
const trees = await endpoint.getCollectionInfo("trees");
const items = await endpoint.getCollectionItems("trees", 5);
const item = await endpoint.getCollectionItem("trees", "1");

console.log(
  JSON.stringify({
    version: about.version,
    title: (await endpoint.info).title,
    conformance: await endpoint.conformanceClasses,
    collections: names(await endpoint.allCollections),
    features: names(await endpoint.featureCollections),
    tiles: names(await endpoint.vectorTileCollections),
    hasFeatures: await endpoint.hasFeatures,
    hasTiles: await endpoint.hasTiles,
    matrixSets: await endpoint.tileMatrixSets,
    formats: trees.itemFormats,
    queryables: trees.queryables.map((each) => each.name),
    sortables: trees.sortables.map((each) => each.name),
    items: items.map((each) => each.id),
    item: item.id,
    url: await endpoint.getCollectionItemsUrl("trees", { limit: 5, query: "genus=Tilia", sortby: [["desc", "height_m"]] }),
    tileset: await endpoint.getVectorTilesetUrl("trees"),
  }),
);
