# One image for every process; the command decides which one runs.
FROM debian:13-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 990 --home-dir /app coi-web
WORKDIR /app
COPY requirements/base.txt requirements/
RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/base.txt
COPY manage.py pyproject.toml ./
COPY coi_web coi_web
COPY sessions sessions
COPY monitoring monitoring
COPY static static
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYLXD_WARNINGS=none \
    DJANGO_SETTINGS_MODULE=coi_web.settings.production COI_STATIC_ROOT=/srv/static COI_DATA_DIR=/srv/data
# Hashed static files are part of the image; the values here are for this step alone and reach no process.
RUN mkdir -p /srv/static /srv/data \
 && COI_SECRET_KEY=build COI_AUDIT_KEY=build COI_REDIS_URL=redis://build COI_PUBLIC_URL=https://build \
    COI_DATABASE_URL=sqlite:////tmp/build.sqlite3 python manage.py collectstatic --noinput --ignore=django_htmx \
 && chown -R coi-web /srv/data
USER coi-web
EXPOSE 8470
