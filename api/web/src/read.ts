/** Pages that are read: their look, and times told in the reader's language. */

import { tellTimes } from "./times";

tellTimes();
