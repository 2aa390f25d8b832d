WITH joined AS (
  SELECT f."at", f.key, a.cum, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "dbgnn_lists_of_shop"."dbgnn"."lists_1" AS a JOIN frontier AS f ON a.dst = f.node),
bounds AS (
  SELECT "at", nbrs, eids, deg, cum, key,
    0::BIGINT AS before
  FROM joined),
weighed AS (
  SELECT "at", nbrs, eids, deg, cum, key, before,
    cum[deg] - before AS total
  FROM bounds),
words AS (
  SELECT "at", nbrs, eids, deg, cum, key, before,
    total, CASE WHEN deg > 64 THEN list_transform(list_transform(list_transform(range(6),
    lambda j: xor(key, j)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)), lambda w: ((xor(w, w >> 16) * 73244475) & 4294967295)) END AS w
  FROM weighed),
bits AS (
  SELECT "at", nbrs, eids, deg, cum, key, before,
    total, w, CASE WHEN deg > 64 THEN list_transform(range(1, 3 + 1), lambda i: (((w[2 * i - 1] & 1073741823) << 32) | w[2 * i])) END AS bits
  FROM words),
numbers AS (
  SELECT "at", nbrs, eids, deg, cum, key, before,
    total, w, CASE WHEN deg > 64 THEN list_transform(bits, lambda x: CASE WHEN x - x % total <= 4611686018427387904 - total THEN x % total END) END AS numbers
  FROM bits),
again AS (
  SELECT "at", nbrs, eids, deg, cum, key, before,
    total, CASE WHEN list_count(numbers) < 3 THEN list_transform(range(1, 3 + 1), lambda i: coalesce(CASE WHEN (((w[2 * i - 1] & 1073741823) << 32) | w[2 * i]) - (((w[2 * i - 1] & 1073741823) << 32) | w[2 * i]) % total <= 4611686018427387904 - total THEN (((w[2 * i - 1] & 1073741823) << 32) | w[2 * i]) % total END, CASE WHEN (((((xor(((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295) & 1073741823) << 32) | ((xor(((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295)) - (((((xor(((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295) & 1073741823) << 32) | ((xor(((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295)) % total <= 4611686018427387904 - total THEN (((((xor(((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i - 1], 1), xor(w[2 * i - 1], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295) & 1073741823) << 32) | ((xor(((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295), ((xor(xor(w[2 * i], 1), xor(w[2 * i], 1) >> 16) * 73244475) & 4294967295) >> 16) * 73244475) & 4294967295)) % total END, error('dbgnn: too few words')::BIGINT)) ELSE numbers END AS numbers
  FROM numbers),
drawn AS (
  SELECT "at", nbrs, eids, deg, cum, key, before,
    total, CASE WHEN deg > 64 THEN list_transform(numbers, lambda r: list_reduce([4, 2, 1]::BIGINT[], lambda x, b: x + CASE WHEN cum[x + b] <= before + r THEN b ELSE 0 END, 0::BIGINT) + 1) END AS drawn
  FROM again),
found AS (
  SELECT "at", nbrs, eids, deg, cum, before,
    CASE WHEN deg > 64 THEN drawn ELSE range(1, deg + 1) END AS p
  FROM drawn),
chosen AS (
  SELECT "at", nbrs, eids, deg, cum,
    CASE WHEN NOT (deg > 64) OR len(p) = 3 THEN p END AS p, CASE WHEN deg > 0 AND NOT (deg > 64) THEN cum END AS totals
  FROM found)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge, totals
FROM chosen
