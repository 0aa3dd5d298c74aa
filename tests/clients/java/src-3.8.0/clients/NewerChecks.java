package clients;

/** What the client of 3.9 has more: nothing here, since this is compiled with the client of 3.8. */
final class NewerChecks {
    private NewerChecks() {}

    static void register(Suite suite) {}
}
