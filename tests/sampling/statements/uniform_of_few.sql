WITH joined AS (
  SELECT f."at", f.key, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "shop"."dbgnn"."adj_1" AS a JOIN frontier AS f ON a.dst = f.node),
counted AS (
  SELECT "at", nbrs, eids, deg,
    xor(key, 0) AS w0,
    xor(key, 1) AS w1,
    xor(key, 2) AS w2
  FROM joined),
mixed AS (
  SELECT "at", nbrs, eids, deg,
    ((xor(w0, w0 >> 16) * 73244475) & 4294967295) AS w0,
    ((xor(w1, w1 >> 16) * 73244475) & 4294967295) AS w1,
    ((xor(w2, w2 >> 16) * 73244475) & 4294967295) AS w2
  FROM counted),
words AS (
  SELECT "at", nbrs, eids, deg,
    ((xor(w0, w0 >> 16) * 73244475) & 4294967295) AS w0,
    ((xor(w1, w1 >> 16) * 73244475) & 4294967295) AS w1,
    ((xor(w2, w2 >> 16) * 73244475) & 4294967295) AS w2
  FROM mixed),
drawn AS (
  SELECT "at", nbrs, eids, deg,
    coalesce(CASE WHEN ((w0 * (deg - 2)) & 4294967295) >= (deg - 2) THEN (((w0 * (deg - 2)) >> 32) + 1) WHEN ((w0 * (deg - 2)) & 4294967295) >= 4294967296 % (deg - 2) THEN (((w0 * (deg - 2)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT) AS p0,
    coalesce(CASE WHEN ((w1 * (deg - 1)) & 4294967295) >= (deg - 1) THEN (((w1 * (deg - 1)) >> 32) + 1) WHEN ((w1 * (deg - 1)) & 4294967295) >= 4294967296 % (deg - 1) THEN (((w1 * (deg - 1)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT) AS p1,
    coalesce(CASE WHEN ((w2 * (deg - 0)) & 4294967295) >= (deg - 0) THEN (((w2 * (deg - 0)) >> 32) + 1) WHEN ((w2 * (deg - 0)) & 4294967295) >= 4294967296 % (deg - 0) THEN (((w2 * (deg - 0)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT) AS p2
  FROM words),
distinct2 AS (
  SELECT "at", nbrs, eids, deg,
    p0, p2, CASE WHEN p1 IN (p0) THEN (deg - 1) ELSE p1 END AS p1
  FROM drawn),
distinct3 AS (
  SELECT "at", nbrs, eids, deg,
    p0, p1, CASE WHEN p2 IN (p0, p1) THEN (deg - 0) ELSE p2 END AS p2
  FROM distinct2),
chosen AS (
  SELECT "at", nbrs, eids, deg,
    CASE WHEN deg > 3 THEN [p0, p1, p2] ELSE range(1, deg + 1) END AS p
  FROM distinct3)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
