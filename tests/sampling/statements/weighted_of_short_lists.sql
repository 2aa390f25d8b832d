WITH joined AS (
  SELECT f."at", f.key, f.bits, f.spare, a.cum, a.width, a.guide, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM "dbgnn_lists_of_shop"."dbgnn"."lists_1" AS a JOIN frontier AS f ON a.dst = f.node),
chosen AS (
  SELECT "at", nbrs, eids, deg, cum, width, guide, bits, spare,
    NULL::BIGINT[] AS p, True AS whole, CASE WHEN deg > 3 THEN cum END AS totals
  FROM joined)
SELECT "at",
  CASE WHEN whole THEN nbrs ELSE list_select(nbrs, p) END AS src,
  CASE WHEN whole THEN eids ELSE list_select(eids, p) END AS edge, totals
FROM chosen
