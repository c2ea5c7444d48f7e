// Ranking for the command palette. Pure.

/**
 * How well `query` fits `text`: 0 for not at all, more for better. Every word of the query must occur;
 * the beginning of the text and beginnings of words count more.
 */
export function score(query, text) {
  const haystack = text.toLowerCase();
  let sum = 0;
  for (const word of query.toLowerCase().split(/\s+/).filter(Boolean)) {
    const at = haystack.indexOf(word);
    if (at < 0) return 0;
    sum += at === 0 ? 4 : /[\s./:@_-]/.test(haystack[at - 1]) ? 3 : 1;
  }
  return sum || 1;
}

/** The best `most` of `items` ({label, hint?}), best first, ties in their order. */
export function rank(query, items, most = 12) {
  return items
    .map((item, order) => ({ item, order, points: score(query, `${item.label} ${item.hint ?? ""}`) }))
    .filter(({ points }) => points > 0)
    .sort((a, b) => b.points - a.points || a.order - b.order)
    .slice(0, most)
    .map(({ item }) => item);
}
