# The command `callwise`, without a key and without root: docker build -t callwise .
#   docker run --rm callwise plan --preset classic
#   docker run --rm -v "$PWD:/work" -e CALLWISE_BASE_URL -e CALLWISE_MODEL -e CALLWISE_API_KEY callwise run "Hello"
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /callwise \
    && /callwise/bin/pip install --no-cache-dir -c constraints.txt '.[serve,redis]'

FROM python:3.12-slim
COPY --from=build /callwise /callwise
RUN useradd --uid 10001 --create-home callwise && mkdir /work && chown callwise /work
ENV PATH="/callwise/bin:$PATH" PYTHONUNBUFFERED=1
USER 10001
WORKDIR /work
ENTRYPOINT ["callwise"]
CMD ["--help"]
