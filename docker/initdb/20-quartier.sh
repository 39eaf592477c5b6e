#!/bin/sh
# Run once, by the database's image, when its volume is empty: the database, who owns it, who reads
# it. Quartier makes all else. As in docs/operators.md, "An existing server".
set -eu

psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "${POSTGRES_USER:-postgres}" --dbname postgres <<SQL
\\set owner \`cat ${SECRETS:-/run/secrets}/owner_password\`
\\set reader \`cat ${SECRETS:-/run/secrets}/reader_password\`
\\set officer \`cat ${SECRETS:-/run/secrets}/officer_password\`
CREATE ROLE quartier_ingest LOGIN;
CREATE ROLE quartier_officer LOGIN;
CREATE ROLE quartier_web LOGIN;
CREATE ROLE city_owner LOGIN PASSWORD :'owner';
GRANT quartier_ingest, quartier_officer, quartier_web TO city_owner;
CREATE ROLE city_reader LOGIN PASSWORD :'reader' IN ROLE quartier_web;
CREATE ROLE city_officer LOGIN PASSWORD :'officer' IN ROLE quartier_officer;
CREATE DATABASE city OWNER city_owner ENCODING 'UTF8' TEMPLATE template0;
\\connect city
CREATE EXTENSION postgis;
SQL
