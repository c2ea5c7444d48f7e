// Pages without the frame: sign in, errors.

import { startForms } from "../lib/forms.js";
import { startTimes } from "../lib/time.js";

startForms();
startTimes();
