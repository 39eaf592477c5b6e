/** A map in somebody else's page. It may have no origin: no storage, no cookies, no pop-ups. */

import { placeAsked } from "./atlas";
import { speakToHost } from "./host";
import { readPage } from "./page";
import { start } from "./start";

start(readPage(), { ...placeAsked(), cooperativeGestures: parent !== self });
speakToHost();
