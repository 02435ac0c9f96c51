import java.io.File;
import java.util.LinkedHashMap;
import java.util.Map;
import org.verapdf.gf.foundry.VeraGreenfieldFoundryProvider;
import org.verapdf.pdfa.Foundries;
import org.verapdf.pdfa.PDFAParser;
import org.verapdf.pdfa.PDFAValidator;
import org.verapdf.pdfa.VeraPDFFoundry;
import org.verapdf.pdfa.flavours.PDFAFlavour;
import org.verapdf.pdfa.results.TestAssertion;
import org.verapdf.pdfa.results.ValidationResult;

/**
 * Holds PDF files against standards with veraPDF's engine.
 *
 * Arguments: the standards with commas between them, then the files. A line a file and standard, in columns
 * with tabs between them: standard, file, assertions that were checked, how many failed, and the failed ones
 * in words.
 */
final class Conformance {
  public static void main(String[] arguments) throws Exception {
    VeraGreenfieldFoundryProvider.initialise();
    VeraPDFFoundry foundry = Foundries.defaultInstance();
    for (int place = 1; place < arguments.length; place++) {
      for (String name : arguments[0].split(",")) {
        PDFAFlavour standard = PDFAFlavour.fromString(name);
        File file = new File(arguments[place]);
        try (PDFAParser parsed = foundry.createParser(file, standard);
            PDFAValidator validator = foundry.createValidator(standard, false)) {
          print(name, file, validator.validate(parsed));
        }
      }
    }
  }

  private static void print(String standard, File file, ValidationResult result) {
    int failed = 0;
    Map<String, String> failures = new LinkedHashMap<>();
    for (TestAssertion assertion : result.getTestAssertions()) {
      if (assertion.getStatus() == TestAssertion.Status.FAILED) {
        failed++;
        String rule = assertion.getRuleId().getClause() + "-" + assertion.getRuleId().getTestNumber();
        String place = assertion.getLocation().getContext();
        failures.putIfAbsent(rule, rule + ": " + assertion.getMessage() + " (" + place + ")");
      }
    }
    String words = String.join("; ", failures.values()).replaceAll("\\s+", " ");
    System.out.printf(
        "%s\t%s\t%d\t%d\t%s%n", standard, file.getPath(), result.getTotalAssertions(), failed, words);
  }
}
