import GoraJinja
import Testing
