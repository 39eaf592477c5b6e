/** The page of a map. */

import { placeAsked } from "./atlas";
import { element, readPage } from "./page";
import { slideSheet } from "./panel";
import { followPlace } from "./place";
import { start } from "./start";

slideSheet(element("panel"), element("grip"));
const atlas = start(readPage(), placeAsked());
if (atlas) followPlace(atlas.map);
