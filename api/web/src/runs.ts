/** The officers' page: a key is asked for, kept for this tab alone, and sent as a header. */

import { showLayer } from "./officer/layer";
import { Desk, Refused } from "./officer/desk";
import { showOverview } from "./officer/overview";
import { showRun } from "./officer/run";
import { showSignIn } from "./officer/sign-in";

const desk = new Desk();

async function show(): Promise<void> {
  if (!desk.key) {
    showSignIn(desk, show);
    return;
  }
  const [what, value] = location.hash.slice(1).split("=");
  desk.say(desk.word("loading"));
  try {
    await desk.signIn();
    if (what === "run" && value) await showRun(desk, Number(value));
    else if (what === "layer" && value) await showLayer(desk, decodeURIComponent(value));
    else await showOverview(desk);
    desk.say("");
  } catch (error) {
    if (error instanceof Refused && error.status === 401) {
      desk.signOut();
      showSignIn(desk, show, error.message);
    } else {
      desk.fail(error, show);
    }
  }
}

addEventListener("hashchange", () => void show().then(() => desk.main.focus()));
void show();
