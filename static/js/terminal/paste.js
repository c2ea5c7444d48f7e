// What a paste may do before anybody looked at it.

/** Lines that Enter would be pressed for: a trailing line end alone is not a second line. */
export const countLines = (text) => text.replace(/(\r\n|\r|\n)$/, "").split(/\r\n|\r|\n/).length;

/** Pastes of several lines, or of more than fits on any screen, are shown first. */
export const needsLook = (text) => countLines(text) > 1 || text.length > 20_000;

/** The beginning of a paste for the dialog: at most `most` lines of at most 200 characters. */
export function preview(text, most = 12) {
  const lines = text.split(/\r\n|\r|\n/);
  // Control characters would be invisible exactly where they matter.
  // eslint-disable-next-line no-control-regex
  const shown = lines.slice(0, most).map((line) => line.slice(0, 200).replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "␛"));
  if (lines.length > most) shown.push(`… and ${lines.length - most} more lines`);
  return shown.join("\n");
}
