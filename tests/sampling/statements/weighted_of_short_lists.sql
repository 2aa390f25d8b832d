WITH joined AS (
  SELECT f."at", f.key, f.bits, f.spare, a.cum, a.guide, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "dbgnn_lists_of_shop"."dbgnn"."lists_1" AS a JOIN frontier AS f ON a.dst = f.node),
chosen AS (
  SELECT "at", nbrs, eids, deg, cum, guide, bits, spare,
    range(1, deg + 1) AS p, CASE WHEN deg > 3 THEN cum END AS totals
  FROM joined)
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge, totals
FROM chosen
