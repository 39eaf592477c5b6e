import { h } from "../dom";
import { type Desk, Refused } from "./desk";
import { field } from "./parts";

/** The form that asks for a key. */
export function showSignIn(desk: Desk, then: () => Promise<void>, why = ""): void {
  const key = h("input", {
    id: "key", type: "password", autocomplete: "current-password", spellcheck: "false",
    autocapitalize: "off", required: true, dir: "ltr",
  });
  const enter = async (event: Event): Promise<void> => {
    event.preventDefault();
    desk.say(desk.word("loading"));
    try {
      await desk.take(key.value.trim());
    } catch (error) {
      desk.fail(error);
      key.setAttribute("aria-invalid", "true");
      key.select();
      return;
    }
    await then();
    desk.main.focus();
  };
  const form = h("form", { class: "form", onsubmit: (event) => void enter(event) },
    // Managers of passwords look for a name beside one.
    h("input", { type: "text", autocomplete: "username", value: "Quartier /runs", hidden: true }),
    field(desk.word("key"), key, desk.word("key_hint")),
    h("div", { class: "acts" }, h("button", { class: "primary" }, desk.word("sign_in"))),
  );
  desk.show(h("p", { class: "lead" }, desk.word("lead")), form);
  desk.say("");
  if (why) desk.fail(new Refused(401, why));
  key.focus();
}
