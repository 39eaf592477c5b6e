-- Texts that differ in case alone are alike: upper case first, so that ß is SS is ss; the two small
-- sigmas are one letter. The collation says nothing of what is equal, it only knows more letters
-- than that of a database in C; a server that was built without it does as it can.
DO $$
DECLARE
    letters text := CASE WHEN EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu')
                    THEN ' COLLATE pg_catalog."und-x-icu"' ELSE '' END;
BEGIN
    EXECUTE format($f$
        CREATE FUNCTION quartier.fold_case(said text) RETURNS text
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN translate(lower(upper(said%1$s)%1$s), 'ς', 'σ')
    $f$, letters);
END
$$;

-- Texts that differ in accents alone are alike: marks that stand over, in or under a letter go,
-- and letters that are written with a stroke or joined are what they are written like.
CREATE FUNCTION quartier.fold_accents(said text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN octet_length(said) = char_length(said) THEN said ELSE
    replace(replace(replace(replace(replace(
        translate(
            normalize(regexp_replace(normalize(said, NFD), '[\u0300-\u036f]+', '', 'g'), NFC),
            'øØłŁđĐħĦŧŧŦı', 'oOlLdDhHttTi'
        ), 'ß', 'ss'), 'æ', 'ae'), 'Æ', 'AE'), 'œ', 'oe'), 'Œ', 'OE')
END;

-- A value as a list, or nothing where it is none.
CREATE FUNCTION quartier.items(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'array' THEN value END;

-- Whether everything of one list is in another. Containment alone would look into lists within.
CREATE FUNCTION quartier.holds_all(outer_list jsonb, inner_list jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN outer_list IS NOT NULL AND inner_list IS NOT NULL THEN
    outer_list @> inner_list AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(inner_list) wanted
        WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(outer_list) there WHERE there = wanted)
    )
END;

CREATE FUNCTION quartier.holds_any(one jsonb, other jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN one IS NOT NULL AND other IS NOT NULL THEN EXISTS (
    SELECT FROM jsonb_array_elements(one) here
    WHERE here IN (SELECT there FROM jsonb_array_elements(other) there)
) END;

GRANT EXECUTE ON FUNCTION quartier.fold_case, quartier.fold_accents, quartier.items,
    quartier.holds_all, quartier.holds_any TO PUBLIC;
