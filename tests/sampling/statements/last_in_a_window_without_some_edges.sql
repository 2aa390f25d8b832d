WITH joined AS (
  SELECT f."at", f.key, f.until, f.since, f.excluded, a.times, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "lists"."timed_1" AS a JOIN frontier AS f ON a.dst = f.node),
upto1 AS (
  SELECT "at", key, nbrs, eids, times, excluded, since, until,
    CASE WHEN times[2] <= until THEN 2::BIGINT ELSE 0 END AS upto
  FROM joined),
upto0 AS (
  SELECT "at", key, nbrs, eids, times, excluded, since, until,
    upto + CASE WHEN times[upto + 1] <= until THEN 1::BIGINT ELSE 0 END AS upto
  FROM upto1),
first1 AS (
  SELECT "at", key, nbrs, eids, times, excluded, since, upto,
    CASE WHEN times[2] <= since THEN 2::BIGINT ELSE 0 END AS first
  FROM upto0),
first0 AS (
  SELECT "at", key, nbrs, eids, times, excluded, since, upto,
    first + CASE WHEN times[first + 1] <= since THEN 1::BIGINT ELSE 0 END AS first
  FROM first1),
eligible AS (
  SELECT "at", key, nbrs, eids, excluded, first, upto - first AS deg
  FROM first0
  WHERE upto - first > 0),
searched AS (
  SELECT "at", key, nbrs, eids, deg, first,
    CASE WHEN excluded IS NOT NULL THEN list_sort(list_filter(list_transform(excluded, lambda e: list_position(eids, e)::BIGINT - first), lambda g: g BETWEEN 1 AND deg), 'ASC', 'NULLS LAST') END AS gone
  FROM eligible),
without AS (
  SELECT "at", key, nbrs, eids, deg - coalesce(len(gone), 0) AS deg, first, gone
  FROM searched
  WHERE deg > coalesce(len(gone), 0)),
chosen AS (
  SELECT "at", nbrs, eids, deg, first, gone,
    range(greatest(deg - 2, 0) + 1, deg + 1) AS p
  FROM without),
levelled AS (
  SELECT "at", nbrs, eids, deg, first, list_transform(gone, lambda g, i: g - i + 1) AS gone, p
  FROM chosen),
placed AS (
  SELECT "at", nbrs, eids, deg, first, gone,
    CASE WHEN gone IS NULL THEN list_transform(p, lambda x: x + first)
    ELSE list_transform(p, lambda x: x + first + len(list_filter(gone, lambda g: g <= x))) END AS p
  FROM levelled)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM placed
