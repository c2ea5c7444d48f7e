// Every page of the panel.

import { startDialogs } from "./lib/dialogs.js";
import { startForms } from "./lib/forms.js";
import { startHtmx } from "./lib/htmx-setup.js";
import { startKeyboard } from "./lib/keyboard.js";
import { startLive } from "./lib/live.js";
import { startPalette } from "./lib/palette.js";
import { startRail } from "./lib/rail.js";
import { startTheme } from "./lib/theme.js";
import { startTimes } from "./lib/time.js";
import { startToasts } from "./lib/toasts.js";

startHtmx();
startToasts();
startDialogs();
startTheme();
startRail();
startTimes();
startForms();
startPalette();
startKeyboard();
startLive();
