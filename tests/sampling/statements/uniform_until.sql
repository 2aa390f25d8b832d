WITH joined AS (
  SELECT f."at", f.key, f.until, a.times, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "lists"."timed_1" AS a JOIN frontier AS f ON a.dst = f.node),
upto1 AS (
  SELECT "at", key, nbrs, eids, times, until,
    CASE WHEN times[2] <= until THEN 2::BIGINT ELSE 0 END AS upto
  FROM joined),
upto0 AS (
  SELECT "at", key, nbrs, eids, times, until,
    upto + CASE WHEN times[upto + 1] <= until THEN 1::BIGINT ELSE 0 END AS upto
  FROM upto1),
eligible AS (
  SELECT "at", key, nbrs, eids, upto AS deg
  FROM upto0
  WHERE upto > 0),
counted AS (
  SELECT "at", nbrs, eids, deg,
    xor(key, 0) AS w0,
    xor(key, 1) AS w1
  FROM eligible),
mixed AS (
  SELECT "at", nbrs, eids, deg,
    ((xor(w0, w0 >> 16) * 73244475) & 4294967295) AS w0,
    ((xor(w1, w1 >> 16) * 73244475) & 4294967295) AS w1
  FROM counted),
words AS (
  SELECT "at", nbrs, eids, deg,
    ((xor(w0, w0 >> 16) * 73244475) & 4294967295) AS w0,
    ((xor(w1, w1 >> 16) * 73244475) & 4294967295) AS w1
  FROM mixed),
drawn AS (
  SELECT "at", nbrs, eids, deg,
    coalesce(CASE WHEN ((w0 * (deg - 1)) & 4294967295) >= (deg - 1) THEN (((w0 * (deg - 1)) >> 32) + 1) WHEN ((w0 * (deg - 1)) & 4294967295) >= 4294967296 % (deg - 1) THEN (((w0 * (deg - 1)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT) AS p0,
    coalesce(CASE WHEN ((w1 * (deg - 0)) & 4294967295) >= (deg - 0) THEN (((w1 * (deg - 0)) >> 32) + 1) WHEN ((w1 * (deg - 0)) & 4294967295) >= 4294967296 % (deg - 0) THEN (((w1 * (deg - 0)) >> 32) + 1) END, error('dbgnn: too few words')::BIGINT) AS p1
  FROM words),
distinct2 AS (
  SELECT "at", nbrs, eids, deg,
    p0, CASE WHEN p1 IN (p0) THEN (deg - 0) ELSE p1 END AS p1
  FROM drawn),
chosen AS (
  SELECT "at", nbrs, eids, deg,
    CASE WHEN deg > 2 THEN [p0, p1] ELSE range(1, deg + 1) END AS p
  FROM distinct2)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
