WITH joined AS (
  SELECT f."at", f.key, f.until, f.since, f.excluded, a.times, a.cum, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "dbgnn_lists_of_shop"."dbgnn"."lists_1" AS a JOIN frontier AS f ON a.dst = f.node),
upto2 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, since, until,
    CASE WHEN times[4] <= until THEN 4::BIGINT ELSE 0 END AS upto
  FROM joined),
upto1 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, since, until,
    upto + CASE WHEN times[upto + 2] <= until THEN 2::BIGINT ELSE 0 END AS upto
  FROM upto2),
upto0 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, since, until,
    upto + CASE WHEN times[upto + 1] <= until THEN 1::BIGINT ELSE 0 END AS upto
  FROM upto1),
first2 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, since, upto,
    CASE WHEN times[4] <= since THEN 4::BIGINT ELSE 0 END AS first
  FROM upto0),
first1 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, since, upto,
    first + CASE WHEN times[first + 2] <= since THEN 2::BIGINT ELSE 0 END AS first
  FROM first2),
first0 AS (
  SELECT "at", key, nbrs, eids, times, excluded, cum, since, upto,
    first + CASE WHEN times[first + 1] <= since THEN 1::BIGINT ELSE 0 END AS first
  FROM first1),
eligible AS (
  SELECT "at", key, nbrs, eids, excluded, cum, first, upto - first AS deg
  FROM first0
  WHERE upto - first > 0),
searched AS (
  SELECT "at", key, nbrs, eids, deg, cum, first,
    CASE WHEN excluded IS NOT NULL THEN list_sort(list_filter(list_transform(excluded, lambda e: list_position(eids, e)::BIGINT - first), lambda g: g BETWEEN 1 AND deg), 'ASC', 'NULLS LAST') END AS gone
  FROM eligible),
without AS (
  SELECT "at", key, nbrs, eids, deg - coalesce(len(gone), 0) AS deg, cum, first, gone
  FROM searched
  WHERE deg > coalesce(len(gone), 0)),
bounds AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, key,
    CASE WHEN first > 0 THEN cum[first] ELSE 0 END AS before, coalesce(list_transform(gone, lambda g: g + first), []::BIGINT[]) AS past
  FROM without),
weighed AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, key, before, past,
    cum[first + deg + len(past)] - before - coalesce(list_sum(list_transform(past, lambda c: cum[c] - CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END))::BIGINT, 0) AS total
  FROM bounds),
words AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, key, before, past,
    total, CASE WHEN deg > 64 OR (gone IS NOT NULL AND deg > 3) THEN list_transform(list_transform(list_transform(range(10),
    lambda j: xor(key, j)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)) END AS w
  FROM weighed),
bits AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, key, before, past,
    total, w, CASE WHEN deg > 64 OR (gone IS NOT NULL AND deg > 3) THEN list_transform(range(1, 5 + 1), lambda i: (((w[2 * i - 1] & 1073741823) << 32) | w[2 * i])) END AS bits
  FROM words),
numbers AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, key, before, past,
    total, w, CASE WHEN deg > 64 OR (gone IS NOT NULL AND deg > 3) THEN list_transform(bits, lambda x: CASE WHEN x - x % total <= 4611686018427387904 - total THEN x % total END) END AS numbers
  FROM bits),
again AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, key, before, past,
    total, CASE WHEN list_count(numbers) < 5 THEN list_transform(range(1, 5 + 1), lambda i: coalesce(CASE WHEN (((w[2 * i - 1] & 1073741823) << 32) | w[2 * i]) - (((w[2 * i - 1] & 1073741823) << 32) | w[2 * i]) % total <= 4611686018427387904 - total THEN (((w[2 * i - 1] & 1073741823) << 32) | w[2 * i]) % total END, CASE WHEN (((((xor(((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295) & 1073741823) << 32) | ((xor(((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295)) - (((((xor(((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295) & 1073741823) << 32) | ((xor(((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295)) % total <= 4611686018427387904 - total THEN (((((xor(((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295) & 1073741823) << 32) | ((xor(((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295)) % total END, error('dbgnn: too few words')::BIGINT)) ELSE numbers END AS numbers
  FROM numbers),
drawn AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, key, before, past,
    total, CASE WHEN deg > 64 OR (gone IS NOT NULL AND deg > 3) THEN list_transform(numbers, lambda r: list_reduce([4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= list_reduce(past, lambda y, c: y + CASE WHEN CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END <= y THEN cum[c] - CASE WHEN c > 1 THEN cum[c - 1] ELSE 0 END ELSE 0 END, before + r) THEN b ELSE 0 END, 0::BIGINT) + 1) END AS drawn
  FROM again),
found AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum, before,
    CASE WHEN deg > 64 OR (gone IS NOT NULL AND deg > 3) THEN list_filter(drawn, lambda x, i: list_position(drawn, x) = i)[:3] ELSE list_filter(range(first + 1, first + deg + len(past) + 1), lambda x: NOT list_contains(past, x)) END AS p
  FROM drawn),
chosen AS (
  SELECT "at", nbrs, eids, deg, first, gone, cum,
    CASE WHEN NOT (deg > 64 OR (gone IS NOT NULL AND deg > 3)) OR len(p) = 3 THEN p END AS p, CASE WHEN deg > 3 AND NOT (deg > 64 OR (gone IS NOT NULL AND deg > 3)) THEN list_transform(cum[first + 1:first + deg], lambda c: c - before) END AS totals
  FROM found)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge, totals
FROM chosen
