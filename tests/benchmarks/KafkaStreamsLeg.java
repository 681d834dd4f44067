import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;

/** Kafka Streams doing the service's per-minute slippage of the sizes a side; see leg_streams.py. */
public final class KafkaStreamsLeg {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final ObjectReader BOOKS = JSON.readerFor(Book.class);

    private static double[] sizes;

    /** A book as its record has it. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Book {
        public long ts_event;
        public double[][] bids;
        public double[][] asks;
    }

    /** Of one symbol and minute: the standing book's time and walk, and sums over time, buy sizes before sell sizes. */
    private static final class Sums {
        long ns = Long.MIN_VALUE;
        final double[] walk = new double[2 * sizes.length];
        final double[] sum = new double[2 * sizes.length];
        final double[] held = new double[2 * sizes.length];

        Sums with(Book book) {
            if (ns != Long.MIN_VALUE) {
                double seconds = (book.ts_event - ns) * 1e-9;
                for (int k = 0; k < walk.length; k++) {
                    if (!Double.isNaN(walk[k])) {
                        sum[k] += walk[k] * seconds;
                        held[k] += seconds;
                    }
                }
            }
            ns = book.ts_event;
            double mid = 0.5 * (book.bids[0][0] + book.asks[0][0]);
            walk(book.asks, 1.0, mid, 0);
            walk(book.bids, -1.0, mid, sizes.length);
            return this;
        }

        private void walk(double[][] levels, double sign, double mid, int at) {
            double filled = 0.0;
            double paid = 0.0;
            int j = 0;
            for (int k = 0; k < sizes.length; k++) {
                while (j < levels.length && filled + levels[j][1] < sizes[k]) {
                    filled += levels[j][1];
                    paid += levels[j][1] * levels[j][0];
                    j++;
                }
                walk[at + k] = j == levels.length
                        ? Double.NaN
                        : sign * ((paid + (sizes[k] - filled) * levels[j][0]) / sizes[k] - mid);
            }
        }

        byte[] bytes() {
            ByteBuffer out = ByteBuffer.allocate(8 + 24 * walk.length);
            out.putLong(ns);
            out.asDoubleBuffer().put(walk).put(sum).put(held);
            return out.array();
        }

        static Sums of(byte[] bytes) {
            Sums sums = new Sums();
            ByteBuffer in = ByteBuffer.wrap(bytes);
            sums.ns = in.getLong();
            in.asDoubleBuffer().get(sums.walk).get(sums.sum).get(sums.held);
            return sums;
        }

        byte[] estimate(long minuteMs) {
            Double[] slippage = new Double[sum.length];
            for (int k = 0; k < sum.length; k++) {
                slippage[k] = held[k] > 0.0 ? sum[k] / held[k] : null;
            }
            try {
                return JSON.writeValueAsBytes(Map.of("minute", minuteMs * 1_000_000L, "slippage", slippage));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    private static Book book(byte[] value) {
        try {
            return BOOKS.readValue(value);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static double cpuSeconds() {
        return 1e-9 * ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        String topic = args[1];
        String out = args[2];
        long messages = Long.parseLong(args[3]);
        long skipped = Long.parseLong(args[4]);
        sizes = Arrays.stream(args[6].split(",")).mapToDouble(Double::parseDouble).toArray();

        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, out);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, args[5]);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 * 1024 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(out, 1, (short) 1))).all().get();
        }

        long[] processed = {0};
        double[] begun = new double[2];
        double[] ended = new double[2];
        CountDownLatch done = new CountDownLatch(1);
        Serde<Book> books = Serdes.serdeFrom((name, value) -> null, (name, value) -> book(value));
        Serde<Sums> sums = Serdes.serdeFrom((name, value) -> value.bytes(), (name, value) -> Sums.of(value));
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(
                        topic,
                        Consumed.with(Serdes.String(), books)
                                .withTimestampExtractor((record, last) -> ((Book) record.value()).ts_event / 1_000_000L))
                .groupByKey()
                .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofSeconds(1)))
                .emitStrategy(EmitStrategy.onWindowClose())
                .aggregate(
                        Sums::new,
                        (symbol, book, found) -> {
                            processed[0]++;
                            if (processed[0] == skipped || processed[0] == messages) {
                                double[] at = processed[0] == skipped ? begun : ended;
                                at[0] = 1e-9 * System.nanoTime();
                                at[1] = cpuSeconds();
                                if (processed[0] == messages) {
                                    done.countDown();
                                }
                            }
                            return found.with(book);
                        },
                        Materialized.with(Serdes.String(), sums))
                .toStream()
                .map((window, found) -> KeyValue.pair(window.key(), found.estimate(window.window().start())))
                .to(out, Produced.with(Serdes.String(), Serdes.ByteArray()));

        AtomicReference<Throwable> failed = new AtomicReference<>();
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            failed.set(error);
            done.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        if (!done.await(10, TimeUnit.MINUTES)) {
            failed.set(new IllegalStateException(processed[0] + " of " + messages + " messages in ten minutes"));
        }
        streams.close(Duration.ofMinutes(1));
        if (failed.get() != null) {
            failed.get().printStackTrace();
            System.exit(1);
        }
        System.out.println(JSON.writeValueAsString(Map.of(
                "messages", messages - skipped,
                "seconds", ended[0] - begun[0],
                "cpu_seconds", ended[1] - begun[1])));
    }
}
