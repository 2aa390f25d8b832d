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
chosen AS (
  SELECT "at", nbrs, eids, deg,
    range(1, deg + 1) AS p
  FROM eligible)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM chosen
