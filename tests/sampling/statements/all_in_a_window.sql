WITH joined AS (
  SELECT f."at", f.key, f.until, f.since, a.times, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "lists"."timed_1" AS a JOIN frontier AS f ON a.dst = f.node),
upto1 AS (
  SELECT "at", key, nbrs, eids, times, since, until,
    CASE WHEN times[2] <= until THEN 2::BIGINT ELSE 0 END AS upto
  FROM joined),
upto0 AS (
  SELECT "at", key, nbrs, eids, times, since, until,
    upto + CASE WHEN times[upto + 1] <= until THEN 1::BIGINT ELSE 0 END AS upto
  FROM upto1),
first1 AS (
  SELECT "at", key, nbrs, eids, times, since, upto,
    CASE WHEN times[2] <= since THEN 2::BIGINT ELSE 0 END AS first
  FROM upto0),
first0 AS (
  SELECT "at", key, nbrs, eids, times, since, upto,
    first + CASE WHEN times[first + 1] <= since THEN 1::BIGINT ELSE 0 END AS first
  FROM first1),
eligible AS (
  SELECT "at", key, nbrs, eids, first, upto - first AS deg
  FROM first0
  WHERE upto - first > 0),
chosen AS (
  SELECT "at", nbrs, eids, deg, first,
    range(1, deg + 1) AS p
  FROM eligible),
placed AS (
  SELECT "at", nbrs, eids, deg, first, CASE WHEN first = 0 THEN p ELSE list_transform(p, lambda x: x + first) END AS p
  FROM chosen)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM placed
