WITH joined AS (
  SELECT f."at", f.key, f.excluded, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "shop"."dbgnn"."adj_1" AS a JOIN frontier AS f ON a.dst = f.node),
searched AS (
  SELECT "at", key, nbrs, eids, deg,
    CASE WHEN excluded IS NOT NULL THEN list_sort(list_filter(list_transform(excluded, lambda e: list_position(eids, e)::BIGINT - 0), lambda g: g BETWEEN 1 AND deg), 'ASC', 'NULLS LAST') END AS gone
  FROM joined),
without AS (
  SELECT "at", key, nbrs, eids, deg - coalesce(len(gone), 0) AS deg, gone
  FROM searched
  WHERE deg > coalesce(len(gone), 0)),
counted AS (
  SELECT "at", nbrs, eids, deg, gone,
    xor(key, 0) AS w0,
    xor(key, 1) AS w1
  FROM without),
mixed AS (
  SELECT "at", nbrs, eids, deg, gone,
    ((xor(w0, w0 >> 16) * 73244475) & 4294967295) AS w0,
    ((xor(w1, w1 >> 16) * 73244475) & 4294967295) AS w1
  FROM counted),
words AS (
  SELECT "at", nbrs, eids, deg, gone,
    ((xor(w0, w0 >> 16) * 73244475) & 4294967295) AS w0,
    ((xor(w1, w1 >> 16) * 73244475) & 4294967295) AS w1
  FROM mixed),
drawn AS (
  SELECT "at", nbrs, eids, deg, gone,
    coalesce(CASE WHEN ((w0 * (deg - 1)) & 4294967295) >= (deg - 1) THEN (((w0 * (deg - 1)) >> 32) + 1) WHEN ((w0 * (deg - 1)) & 4294967295) >= 4294967296 % (deg - 1) THEN (((w0 * (deg - 1)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT) AS p0,
    coalesce(CASE WHEN ((w1 * (deg - 0)) & 4294967295) >= (deg - 0) THEN (((w1 * (deg - 0)) >> 32) + 1) WHEN ((w1 * (deg - 0)) & 4294967295) >= 4294967296 % (deg - 0) THEN (((w1 * (deg - 0)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT) AS p1
  FROM words),
distinct2 AS (
  SELECT "at", nbrs, eids, deg, gone,
    p0, CASE WHEN p1 IN (p0) THEN (deg - 0) ELSE p1 END AS p1
  FROM drawn),
chosen AS (
  SELECT "at", nbrs, eids, deg, gone,
    CASE WHEN deg > 2 THEN [p0, p1] ELSE range(1, deg + 1) END AS p
  FROM distinct2),
levelled AS (
  SELECT "at", nbrs, eids, deg, list_transform(gone, lambda g, i: g - i + 1) AS gone, p
  FROM chosen),
placed AS (
  SELECT "at", nbrs, eids, deg, gone,
    CASE WHEN gone IS NULL THEN p
    ELSE list_transform(p, lambda x: x + len(list_filter(gone, lambda g: g <= x))) END AS p
  FROM levelled)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM placed
